rockspec_format = '3.0'
package = 'farside'
version = 'scm-1'
source = {
  url = 'git+file://.',
}
description = {
  summary = 'Remote functions for Lua',
  detailed = 'A Lua function marked in a deploy script runs on worker processes and is called as if it were local.',
  license = 'MIT',
}
supported_platforms = { 'linux' }
dependencies = {
  'lua == 5.1',
}
build = {
  type = 'cmake',
  variables = {
    CMAKE_BUILD_TYPE = 'Release',
    CMAKE_COMPILE_WARNING_AS_ERROR = 'OFF',
    ENABLE_SPECS = 'OFF',
    BINDIR = '$(BINDIR)',
    LIBDIR = '$(LIBDIR)',
    LUADIR = '$(LUADIR)',
  },
}
