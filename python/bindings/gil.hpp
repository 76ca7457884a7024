// SPDX-License-Identifier: Apache-2.0
// Python's lock, in a process that may be ending.
//
// A daemon thread may work in here when the interpreter shuts down. Before 3.14 Python ends such a thread as soon as it
// asks for the lock, by unwinding its stack. Our frames are in it, and where one may not be unwound the process aborts,
// or objects are let go without the lock. So the thread stops here and waits for the end, as it does from 3.14 on.
#pragma once

#include <pybind11/pybind11.h>

#include <chrono>
#include <thread>
#include <utility>

#if defined(__GLIBCXX__)
#include <cxxabi.h>
#endif

namespace warpfactor::python {

namespace py = pybind11;

/// Calls what may take the lock. Between it and Python there must be no frame with anything to destroy.
template <class F>
auto until_the_end(const F& call) {
#if defined(__GLIBCXX__)
  try {
    return call();
  } catch (abi::__forced_unwind&) {
    for (;;) std::this_thread::sleep_for(std::chrono::hours(1));
  }
#else
  return call();
#endif
}

/// While it lives, other threads of Python's may run.
class WithoutGil {
 public:
  WithoutGil() : state_(PyEval_SaveThread()) {}
  ~WithoutGil() {
    until_the_end([this] { PyEval_RestoreThread(state_); });
  }
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};

/// The lock, for a call back into Python.
class WithGil {
 public:
  WithGil() : state_(until_the_end([] { return PyGILState_Ensure(); })) {}
  ~WithGil() { PyGILState_Release(state_); }
  WithGil(const WithGil&) = delete;
  WithGil& operator=(const WithGil&) = delete;

 private:
  PyGILState_STATE state_;
};

/// Calls a function of Python's, which may be where the thread ends.
template <class... Args>
py::object call_python(const py::object& function, Args&&... args) {
  const py::tuple given = py::make_tuple(std::forward<Args>(args)...);
  PyObject* const result = until_the_end([&] { return PyObject_Call(function.ptr(), given.ptr(), nullptr); });
  if (result == nullptr) throw py::error_already_set();
  return py::reinterpret_steal<py::object>(result);
}

}  // namespace warpfactor::python
