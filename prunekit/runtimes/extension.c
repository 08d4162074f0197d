/* A policy's C as a module of CPython: run(observation, action) or run(observation) -> action number.
   What the policy defines is all capitals, so the names given to this file are not. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include PolicyHeader

static int view_floats(PyObject *object, Py_buffer *view, Py_ssize_t count, int flags)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0)
        return -1;
    if (view->len == count * (Py_ssize_t)sizeof(float) && view->format && view->format[0] == 'f' && !view->format[1])
        return 0;
    PyErr_Format(PyExc_ValueError, "needs a contiguous float32 array of %zd values", count);
    PyBuffer_Release(view);
    return -1;
}

static PyObject *run(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    Py_buffer observation;
#if PolicyOutputs
    Py_buffer action;
#else
    long chosen;
#endif
    (void)module;
    if (count != (PolicyOutputs ? 2 : 1)) {
        PyErr_Format(PyExc_TypeError, "run takes %d arguments, got %zd", PolicyOutputs ? 2 : 1, count);
        return NULL;
    }
    if (view_floats(arguments[0], &observation, PolicyInputs, PyBUF_SIMPLE) != 0)
        return NULL;
#if PolicyOutputs
    if (view_floats(arguments[1], &action, PolicyOutputs, PyBUF_WRITABLE) != 0) {
        PyBuffer_Release(&observation);
        return NULL;
    }
    PolicyAction((const float *)observation.buf, (float *)action.buf);
    PyBuffer_Release(&action);
    PyBuffer_Release(&observation);
    Py_RETURN_NONE;
#else
    chosen = (long)PolicyAction((const float *)observation.buf);
    PyBuffer_Release(&observation);
    return PyLong_FromLong(chosen);
#endif
}

static PyMethodDef methods[] = {
    {"run", (PyCFunction)(void (*)(void))run, METH_FASTCALL, "Run the policy once."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "prunekit_policy", "A policy, compiled.", 0, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit_prunekit_policy(void)
{
    return PyModuleDef_Init(&definition);
}
