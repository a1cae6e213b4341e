# shellcheck shell=bash
# Sourced by spec/run, examples/run, spec/bench/run and .ci/run, in the root of the source tree: what has to be there before
# anything runs. When all of it is, this costs a few hundredths of a second.
#
#   setup_need_build; setup_install; setup_build build
#
# FARSIDE_BUILD names the build folder, "build" without it; .ci/run has one for each kind of build.

setup_missing=()

# setup_need PACKAGE COMMAND...: the Debian package is missing unless the command succeeds.
setup_need() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || setup_missing+=("$package")
}

setup_need_build() {
  setup_need gcc command -v "${CC:-cc}"
  setup_need g++ command -v "${CXX:-c++}"
  setup_need libc6-dev test -e /usr/include/stdio.h
  setup_need cmake command -v cmake
  setup_need ninja-build command -v ninja
  setup_need pkg-config command -v pkg-config
  setup_need luajit command -v luajit
  setup_need libluajit-5.1-dev pkg-config --exists luajit
  setup_need libuv1-dev pkg-config --exists libuv
  setup_need libmd-dev pkg-config --exists libmd
  setup_need libmsgpack-dev setup_any_module msgpack-c msgpack
  setup_need libhttp-parser-dev test -e /usr/include/http_parser.h
  setup_need lua-argparse test -e /usr/share/lua/5.1/argparse.lua
}

setup_need_examples() {
  setup_need libpng16-16 luajit -e 'require("ffi").load("libpng16.so.16")'
}

# The msgpack codecs of others, to compare ours with.
setup_need_codecs() {
  setup_need lua-mpack test -e /usr/lib/x86_64-linux-gnu/lua/5.1/mpack.so
  setup_need lua-messagepack test -e /usr/share/lua/5.1/MessagePack.lua
}

setup_need_specs() {
  setup_need_codecs
  setup_need libopenblas0-pthread setup_library libopenblas.so.0
  setup_need lua-busted test -e "$(setup_busted)"
  setup_need luarocks command -v luarocks
  setup_need make command -v make
}

setup_need_ci() {
  setup_need git command -v git
  setup_need clang-14 command -v clang-14
  setup_need libclang-rt-14-dev test -e /usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a
  setup_need clang-format-14 command -v clang-format-14
  setup_need lua-check command -v luacheck
  setup_need shellcheck command -v shellcheck
}

setup_any_module() {
  local module
  for module; do
    pkg-config --exists "$module" && return 0
  done
  return 1
}

# A shared library that is opened at run time.
setup_library() {
  /sbin/ldconfig -p | grep -F "$1"
}

# The busted script itself; it is given to luajit, since its own first line asks for another Lua.
setup_busted() {
  command -v busted || echo /usr/bin/busted
}

# Installs what setup_need found missing if this is root on Debian, else says how and ends.
setup_install() {
  [ ${#setup_missing[@]} -gt 0 ] || return 0
  local install="apt-get install -y --no-install-recommends ${setup_missing[*]}"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    printf 'Packages are missing. As root:\n  apt-get update && %s\n' "$install" >&2
    exit 1
  fi
  echo "Installing ${setup_missing[*]}" >&2
  if ! { apt-get update && DEBIAN_FRONTEND=noninteractive $install; } </dev/null >&2; then
    printf 'The installation failed. As root:\n  apt-get update && %s\n' "$install" >&2
    exit 1
  fi
  setup_missing=()
}

# setup_build FOLDER [CMAKE ARGUMENTS]: configures if that was not done with these arguments, then builds. Without
# arguments a configured folder stays as it is. Whoever comes second waits, as ninja has no lock of its own.
setup_build() {
  local folder=$1
  shift
  mkdir -p "$folder"
  (
    flock 9
    # A sanitizer's library that the specs preload is not meant for compilers.
    unset LD_PRELOAD
    if [ ! -e "$folder/build.ninja" ] || { [ $# -gt 0 ] && [ "$*" != "$(cat "$folder/.arguments")" ]; }; then
      echo "Building in $folder" >&2
      setup_quietly "$folder/configure.log" cmake -S . -B "$folder" -G Ninja "$@"
      echo "$*" >"$folder/.arguments"
    fi
    setup_quietly "$folder/build.log" ninja --quiet -C "$folder"
  ) 9>"$folder/.lock" || exit 1
}

# setup_quietly LOG COMMAND...: the output is shown only if the command fails.
setup_quietly() {
  local log=$1
  shift
  "$@" >"$log" 2>&1 </dev/null && return 0
  cat "$log" >&2
  exit 1
}
