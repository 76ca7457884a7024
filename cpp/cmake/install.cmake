# SPDX-License-Identifier: Apache-2.0
# The C++ library as an installed package: find_package(warpfactor), and with CUDA find_package(warpfactor COMPONENTS
# cuda); or pkg-config without CUDA, whose part is compiled into each program.
include(CMakePackageConfigHelpers)
include(GNUInstallDirs)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/warpfactor)
install(TARGETS warpfactor EXPORT warpfactor-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/cpp/include/ ${PROJECT_BINARY_DIR}/include/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}
  COMPONENT cpp FILES_MATCHING PATTERN "*.hpp")
install(EXPORT warpfactor-targets NAMESPACE warpfactor:: DESTINATION ${package_dir} COMPONENT cpp)
if(TARGET warpfactor_cuda)
  # Targets of their own, so that only who asks for CUDA needs its toolkit.
  target_sources(warpfactor_with_cuda INTERFACE $<INSTALL_INTERFACE:$<INSTALL_PREFIX>/${package_dir}/register_cuda.cpp>)
  install(TARGETS warpfactor_cuda warpfactor_with_cuda EXPORT warpfactor-cuda-targets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT cpp)
  install(FILES ${PROJECT_SOURCE_DIR}/cuda/register_cuda.cpp DESTINATION ${package_dir} COMPONENT cpp)
  install(EXPORT warpfactor-cuda-targets NAMESPACE warpfactor:: DESTINATION ${package_dir} COMPONENT cpp)
endif()
configure_package_config_file(${PROJECT_SOURCE_DIR}/cpp/cmake/warpfactor-config.cmake.in warpfactor-config.cmake
  INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(warpfactor-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/warpfactor-config.cmake ${PROJECT_BINARY_DIR}/warpfactor-config-version.cmake
  DESTINATION ${package_dir} COMPONENT cpp)

# For builds without CMake. The paths start from the file's own place, so that the installed folder can be moved.
set(pc_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(pc_prefix ${CMAKE_INSTALL_PREFIX})
if(NOT IS_ABSOLUTE ${CMAKE_INSTALL_LIBDIR})
  file(RELATIVE_PATH up /${pc_dir} /)
  string(REGEX REPLACE "/$" "" up "${up}")
  set(pc_prefix "\${pcfiledir}/${up}")
endif()
foreach(dir libdir includedir)
  string(TOUPPER ${dir} upper)
  cmake_path(APPEND pc_${dir} "\${prefix}" ${CMAKE_INSTALL_${upper}})  # that of an absolute one
endforeach()
# What a linker that is no C++ compiler needs beside it.
set(pc_private)
foreach(library ${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES})
  if(library MATCHES "^(stdc\\+\\+|c\\+\\+|m)$")
    list(APPEND pc_private -l${library})
  endif()
endforeach()
list(REMOVE_DUPLICATES pc_private)
list(JOIN pc_private " " pc_private)
configure_file(${PROJECT_SOURCE_DIR}/cpp/cmake/warpfactor.pc.in warpfactor.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/warpfactor.pc DESTINATION ${pc_dir} COMPONENT cpp)
