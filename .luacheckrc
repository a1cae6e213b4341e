std = 'luajit'
max_line_length = 120
-- The deploy script of word_count has an attribute, which luacheck cannot read.
exclude_files = { 'build*/**', 'examples/word_count/deploy.lua' }
files['spec'] = { std = '+busted' }
