# spec/stub/libfarside_cuda.so: the CPU library's own objects under other names, behind stub.cc, which has the names of
# kernels.h. What that passes on is read off the declarations there, so it has every function that they have.
file(READ ${PROJECT_SOURCE_DIR}/cuda/kernels.h text)
string(REGEX REPLACE ".*// ---- declarations begin\n(.*)// ---- declarations end.*" "\\1" text "${text}")
string(REGEX REPLACE "//[^\n]*" "" text "${text}")
string(REGEX REPLACE "\n +" " " text "${text}")
string(REGEX MATCHALL "\n[a-z0-9_ ]+[ *]+(kernel|device)_[a-z0-9_]+\\([^)]*\\)" prototypes "${text}")

set(own device_kind device_count device_last_reason device_versions device_describe device_set device_get device_memory
  device_last_error device_error_name device_error_text device_stream_query device_event_query)
set(renames)
set(calls)
foreach(prototype IN LISTS prototypes)
  string(REGEX MATCH "^\n([a-z0-9_ ]+[ *]+)((kernel|device)_[a-z0-9_]+)\\(([^)]*)\\)$" matched "${prototype}")
  set(result "${CMAKE_MATCH_1}")
  set(name ${CMAKE_MATCH_2})
  set(parameters "${CMAKE_MATCH_4}")
  string(APPEND renames "${name} real_${name}\n")
  set(values)
  if(NOT parameters STREQUAL "void")
    string(REPLACE "," ";" list "${parameters}")
    foreach(parameter IN LISTS list)
      string(REGEX MATCH "[a-z0-9_]+$" value "${parameter}")
      list(APPEND values ${value})
    endforeach()
  endif()
  list(JOIN values ", " values)
  set(kind FORWARD)
  if(name IN_LIST own)
    set(kind OWN)
  elseif(result STREQUAL "int ")
    set(kind PASS)
  endif()
  string(APPEND calls "${kind}(${result}, ${name}, (${parameters}), (${values}))\n")
endforeach()
set(folder ${CMAKE_CURRENT_BINARY_DIR}/stub)
file(CONFIGURE OUTPUT ${folder}/renames.txt CONTENT "${renames}" @ONLY)
file(CONFIGURE OUTPUT ${folder}/stub_calls.h CONTENT "${calls}" @ONLY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cuda/kernels.h)

add_custom_command(OUTPUT ${folder}/kernels.o
  COMMAND ${CMAKE_LINKER} -r -o ${folder}/all.o $<TARGET_OBJECTS:farside_cpu>
  COMMAND ${CMAKE_OBJCOPY} --redefine-syms=${folder}/renames.txt ${folder}/all.o ${folder}/kernels.o
  DEPENDS farside_cpu $<TARGET_OBJECTS:farside_cpu> ${folder}/renames.txt
  COMMAND_EXPAND_LISTS VERBATIM)
add_library(farside_stub MODULE cuda/stub.cc ${folder}/kernels.o)
set_source_files_properties(${folder}/kernels.o PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
target_include_directories(farside_stub PRIVATE ${PROJECT_SOURCE_DIR}/cuda ${folder})
target_compile_features(farside_stub PRIVATE cxx_std_17)
target_compile_options(farside_stub PRIVATE -fno-exceptions -fno-rtti)
target_link_options(farside_stub PRIVATE
  -Wl,--version-script=${PROJECT_BINARY_DIR}/cuda/kernels.map -Wl,-z,nodelete -static-libstdc++)
target_link_libraries(farside_stub PRIVATE farside_flags Threads::Threads ${CMAKE_DL_LIBS} m)
set_target_properties(farside_stub PROPERTIES
  OUTPUT_NAME farside_cuda LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/spec/stub)
