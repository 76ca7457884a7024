# SPDX-License-Identifier: Apache-2.0
# cmake -DISA=avx2 -DPROCESSOR=x86_64 "-DOBJECTS=sgd_kernel.cpp.o;gibbs_kernel.cpp.o" -DNM=nm -DOBJDUMP=objdump -P check_isa_leak.cmake
#
# Every symbol that the object files offer to the linker must lie in namespace warpfactor::isa_<ISA>. A shared inline or
# template function compiled here would be a weak symbol under a common name: the linker keeps one of its copies for the
# whole program, perhaps the one with instructions that the processor lacks (numpy#25274, xsimd#1311).
cmake_minimum_required(VERSION 3.24)

string(LENGTH "isa_${ISA}" length)
set(wanted "^_ZN?K?(T[VISC])?N?10warpfactor${length}isa_${ISA}")

foreach(object IN LISTS OBJECTS)
  execute_process(COMMAND ${NM} --defined-only --extern-only --format=posix ${object} OUTPUT_VARIABLE symbols COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX REPLACE "\n$" "" symbols "${symbols}")
  string(REPLACE "\n" ";" symbols "${symbols}")
  list(LENGTH symbols count)
  if(count EQUAL 0)
    message(FATAL_ERROR "${object} defines no symbol; not even the kernel table")
  endif()
  foreach(line IN LISTS symbols)
    string(REGEX REPLACE " .*$" "" name "${line}")
    if(NOT name MATCHES "${wanted}")
      message(SEND_ERROR "leaks out of namespace warpfactor::isa_${ISA}: ${line}")
    endif()
  endforeach()

  execute_process(COMMAND ${OBJDUMP} -d --no-show-raw-insn ${object} OUTPUT_VARIABLE code COMMAND_ERROR_IS_FATAL ANY)
  if(PROCESSOR STREQUAL "aarch64")  # whose baseline has NEON: four floats or two doubles in a register
    if(NOT (code MATCHES "\tfmla\tv[0-9]+\\.4s" AND code MATCHES "\tfmla\tv[0-9]+\\.2d"))
      message(SEND_ERROR "the ${ISA} kernels do not multiply and add by NEON, floats and doubles: ${object}")
    endif()
    if(code MATCHES "[ {\t]z[0-9]+\\.[bhsd]")
      message(SEND_ERROR "the ${ISA} kernels use SVE, which the baseline lacks: ${object}")
    endif()
  endif()
  foreach(register ymm zmm)
    string(FIND "${code}" "%${register}" at)
    set(uses_${register} OFF)
    if(NOT at EQUAL -1)
      set(uses_${register} ON)
    endif()
  endforeach()
  if(ISA STREQUAL "baseline" AND (uses_ymm OR uses_zmm))
    message(SEND_ERROR "the baseline kernels use registers that the baseline lacks (ymm ${uses_ymm}, zmm ${uses_zmm})")
  elseif(ISA STREQUAL "avx2" AND (uses_zmm OR NOT uses_ymm))
    message(SEND_ERROR "the avx2 kernels must use ymm (${uses_ymm}) and not zmm (${uses_zmm})")
  elseif(ISA STREQUAL "avx512" AND NOT uses_zmm)
    message(SEND_ERROR "the avx512 kernels use no zmm register")
  endif()
  message(STATUS "${ISA}: ${object}: ${count} symbols, ymm ${uses_ymm}, zmm ${uses_zmm}")
endforeach()
