// SPDX-License-Identifier: Apache-2.0
// The kernels that answer, for the table of the CUDA library: those of the device, and those of the twin.
#pragma once

#include "device/answer_args.hpp"

namespace warpfactor {

template <class A>
AnswerFunctions<A> device_answers();
void device_find_codes(const FindArgs& args, std::uintptr_t stream);

template <class A>
AnswerFunctions<A> twin_answers();
void twin_find_codes(const FindArgs& args, std::uintptr_t stream);

}  // namespace warpfactor
