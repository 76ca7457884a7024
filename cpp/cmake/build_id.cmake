# SPDX-License-Identifier: Apache-2.0
# Makes device/build_id.hpp: a fingerprint of the headers, so that a library of other sources is recognized. The version
# does not do, because it stays the same while somebody works on the sources.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/cpp/include/*.hpp* ${PROJECT_SOURCE_DIR}/cpp/src/*.hpp
  ${PROJECT_SOURCE_DIR}/cuda/*.hpp ${PROJECT_SOURCE_DIR}/cuda/*.cuh)
list(SORT headers)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${headers})
set(hashes "")
foreach(header ${headers})
  file(SHA256 ${header} hash)
  string(APPEND hashes ${hash})
endforeach()
string(SHA256 WARPFACTOR_HEADERS "${hashes}")
string(SUBSTRING ${WARPFACTOR_HEADERS} 0 16 WARPFACTOR_HEADERS)
configure_file(${PROJECT_SOURCE_DIR}/cpp/src/device/build_id.hpp.in ${PROJECT_BINARY_DIR}/generated/device/build_id.hpp @ONLY)
