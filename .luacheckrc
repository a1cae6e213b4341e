std = 'luajit'
max_line_length = 170
exclude_files = {
  'build*/**',
  'examples/stream/deploy.lua', 'examples/word_count/deploy.lua', -- are written with attributes, which are no Lua yet
}
files['spec'] = { std = '+busted' }
