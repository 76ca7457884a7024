// SPDX-License-Identifier: Apache-2.0
#include <exception>

#include "arrays.hpp"
#include "warpfactor/model.hpp"
#include "warpfactor/source.hpp"
#include "warpfactor/types.hpp"
#include "warpfactor/version.hpp"

namespace py = pybind11;

// Without Python's lock: from call to call the core keeps nothing but what is set once (the kernels for the processor,
// the device's library, tables of constants). It touches Python's objects on the thread that called, attached
// (gil.hpp). An object that a call changes (TextEncoder, UserBlock, the parameters) is for one thread at a time, with
// the lock as without: the package gives none to users. Sub-interpreters are refused, as NumPy, which makes the arrays,
// may hang there.
PYBIND11_MODULE(_core, m, py::mod_gil_not_used(), py::multiple_interpreters::not_supported()) {
  m.doc() = "The compiled core of warpfactor. Not a public interface: use the package's.";
  m.attr("__version__") = WARPFACTOR_VERSION;
  // std::invalid_argument -> ValueError and std::bad_alloc -> MemoryError are pybind11's own. The classes of the others
  // are the package's (warpfactor.exceptions), because they carry attributes and must pickle.
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
    } catch (const warpfactor::ModelFileError& file) {
      const py::object type = py::module_::import("warpfactor.exceptions").attr("ModelFileError");
      PyErr_SetString(type.ptr(), file.what());
    } catch (const warpfactor::ScratchError& scratch) {
      // With two arguments OSError becomes the class of its errno, as PermissionError.
      const py::object value =
          py::reinterpret_borrow<py::object>(PyExc_OSError)(scratch.code().value(), scratch.what());
      PyErr_SetObject(py::type::of(value).ptr(), value.ptr());
    }
  });
  warpfactor::python::bind_runtime(m);
  warpfactor::python::bind_answers(m);
  warpfactor::python::bind_train(m);
  warpfactor::python::bind_blocks(m);
  warpfactor::python::bind_sample(m);
  warpfactor::python::bind_model(m);
  warpfactor::python::bind_descent(m);
  warpfactor::python::bind_fold_in(m);
  warpfactor::python::bind_ids(m);
  warpfactor::python::bind_memory(m);
  warpfactor::python::bind_metrics(m);
}
