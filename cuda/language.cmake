# SPDX-License-Identifier: Apache-2.0
# Looks for nvcc. Included at the top, since a language must be enabled above all folders that use it.

string(TOUPPER "${WARPFACTOR_CUDA}" wanted)
if(NOT wanted MATCHES "^(AUTO|ON|OFF|TWIN)$")
  message(FATAL_ERROR "WARPFACTOR_CUDA is '${WARPFACTOR_CUDA}'; it must be AUTO, ON, OFF or TWIN")
endif()
set(WARPFACTOR_CUDA_FOUND OFF)
if(wanted MATCHES "^(AUTO|ON)$")
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES AND NOT DEFINED ENV{CUDAARCHS})  # CMake reads that one itself
    set(CMAKE_CUDA_ARCHITECTURES 80-real 86-real 89-real 90)
  endif()
  include(CheckLanguage)
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    # nvcc before 12 knows no C++20, and CMake before 3.26 does not know that later ones do.
    if("cuda_std_20" IN_LIST CMAKE_CUDA_COMPILE_FEATURES)
      set(WARPFACTOR_CUDA_FOUND ON)
    endif()
  endif()
  if(wanted STREQUAL "ON" AND NOT WARPFACTOR_CUDA_FOUND)
    message(FATAL_ERROR "WARPFACTOR_CUDA=ON, but no working nvcc of CUDA 12 or later was found by a CMake of 3.26 or later (nvcc ${CMAKE_CUDA_COMPILER} ${CMAKE_CUDA_COMPILER_VERSION}, CMake ${CMAKE_VERSION}): put nvcc on the PATH or set CUDACXX, update CMake, or use WARPFACTOR_CUDA=OFF")
  endif()
endif()
message(STATUS "warpfactor: CUDA ${WARPFACTOR_CUDA} -> ${WARPFACTOR_CUDA_FOUND}")
