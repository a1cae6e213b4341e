# Writes a C file that holds every Lua file of a folder: cmake -DLUA_DIR=... -DOUTPUT=... -P embed_lua.cmake
#
# The files go in as text, not as bytecode: every LuaJIT 2.1 reads text, and parameter names and line numbers are needed
# at run time. lua/farside/init.lua becomes "farside", lua/farside/x/y.lua "farside.x.y".
cmake_minimum_required(VERSION 3.25)

file(GLOB_RECURSE files RELATIVE ${LUA_DIR} ${LUA_DIR}/farside/*.lua)
list(SORT files)

set(arrays "")
set(rows "")
set(number 0)
foreach(file IN LISTS files)
  string(REGEX REPLACE "(/init)?\\.lua$" "" name ${file})
  string(REPLACE "/" "." name ${name})
  file(SIZE ${LUA_DIR}/${file} size)
  file(READ ${LUA_DIR}/${file} bytes HEX)
  string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
  string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
  # A zero byte behind each: the array of an empty file would not be C.
  string(APPEND arrays "static const unsigned char module_${number}[] = {\n${bytes}0x00};\n\n")
  string(APPEND rows "    {\"${name}\", module_${number}, ${size}},\n")
  math(EXPR number "${number} + 1")
endforeach()

file(WRITE ${OUTPUT} "// Made by host/embed_lua.cmake from the files in lua/.
#include \"vm/embedded_lua.h\"

${arrays}const struct embedded_lua farside_embedded_lua[] = {
${rows}    {0, 0, 0},
};
")
