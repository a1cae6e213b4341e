# Writes a C file that holds every Lua file of a folder, and one of another project:
# cmake -DLUA_DIR=... -DARGPARSE=.../argparse.lua -DOUTPUT=... -P embed_lua.cmake
#
# The files go in as text, not as bytecode: every LuaJIT 2.1 reads text, and parameter names and line numbers are needed
# at run time. lua/farside/init.lua becomes "farside", lua/farside/x/y.lua "farside.x.y". argparse (MIT, its licence stands
# at its head) becomes "farside.cli.argparse", so that a script's own `require 'argparse'` finds the script's.
cmake_minimum_required(VERSION 3.25)

file(GLOB_RECURSE files RELATIVE ${LUA_DIR} ${LUA_DIR}/farside/*.lua)
list(SORT files)

set(arrays "")
set(rows "")
set(number 0)

macro(pack name path)
  file(SIZE ${path} size)
  file(READ ${path} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  # A zero byte behind each: the array of an empty file would not be C.
  string(APPEND arrays "static const unsigned char module_${number}[] = {\n${bytes}0x00};\n\n")
  string(APPEND rows "    {\"${name}\", module_${number}, ${size}},\n")
  math(EXPR number "${number} + 1")
endmacro()

foreach(file IN LISTS files)
  string(REGEX REPLACE "(/init)?\\.lua$" "" name ${file})
  string(REPLACE "/" "." name ${name})
  pack(${name} ${LUA_DIR}/${file})
endforeach()
pack(farside.cli.argparse ${ARGPARSE})

file(WRITE ${OUTPUT} "// Made by host/embed_lua.cmake from the files in lua/ and argparse.lua.
#include \"vm/embedded_lua.h\"

${arrays}const struct embedded_lua farside_embedded_lua[] = {
${rows}    {0, 0, 0},
};
")
