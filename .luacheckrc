std = 'luajit'
max_line_length = 170
exclude_files = {
  'build*/**',
  'examples/word_count/deploy.lua', -- is written with attributes, which are no Lua yet
}
files['spec'] = { std = '+busted' }
