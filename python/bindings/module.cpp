// SPDX-License-Identifier: Apache-2.0
#include <exception>

#include "arrays.hpp"
#include "warpfactor/types.hpp"
#include "warpfactor/version.hpp"

namespace py = pybind11;

PYBIND11_MODULE(_core, m) {
  m.doc() = "The compiled core of warpfactor. Not a public interface: use the package's.";
  m.attr("__version__") = WARPFACTOR_VERSION;
  // std::invalid_argument -> ValueError and std::bad_alloc -> MemoryError are pybind11's own. The classes of the other
  // two are the package's (warpfactor.exceptions), because they carry attributes and must pickle.
  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const warpfactor::Interrupted&) {
      // The signal handler's exception (KeyboardInterrupt) is set already.
      if (PyErr_Occurred() == nullptr) PyErr_SetNone(PyExc_KeyboardInterrupt);
    } catch (const warpfactor::DivergedError& diverged) {
      const py::object type = py::module_::import("warpfactor.exceptions").attr("DivergedError");
      const py::object value = type(diverged.what(), diverged.epoch());
      PyErr_SetObject(type.ptr(), value.ptr());
    } catch (const warpfactor::CudaError& cuda) {
      const py::object type = py::module_::import("warpfactor.exceptions").attr("CudaError");
      PyErr_SetString(type.ptr(), cuda.what());
    }
  });
  warpfactor::python::bind_runtime(m);
  warpfactor::python::bind_train(m);
  warpfactor::python::bind_sample(m);
  warpfactor::python::bind_model(m);
  warpfactor::python::bind_descent(m);
  warpfactor::python::bind_fold_in(m);
  warpfactor::python::bind_ids(m);
  warpfactor::python::bind_memory(m);
  warpfactor::python::bind_metrics(m);
}
