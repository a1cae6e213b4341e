// Names of the statuses that both libraries have of their own; other codes are named by the device
// layer.
#pragma once

#include "kernels.h"

static inline const char *kernel_status_name(int status) {
  switch (status) {
    case KERNEL_OK:
      return "ok";
    case KERNEL_BAD_DTYPE:
      return "bad dtype";
    case KERNEL_BAD_SHAPE:
      return "bad shape";
    case KERNEL_BAD_OPERATION:
      return "bad operation";
    case KERNEL_BAD_WORKSPACE:
      return "bad workspace";
    case KERNEL_BAD_ARGUMENT:
      return "bad argument";
    case KERNEL_NO_LIBRARY:
      return "no library";
    default:
      return "unknown status";
  }
}

static inline const char *kernel_status_text(int status) {
  switch (status) {
    case KERNEL_OK:
      return "no error";
    case KERNEL_BAD_DTYPE:
      return "the operation is not defined for these element types";
    case KERNEL_BAD_SHAPE:
      return "the shapes do not fit each other, or a rank is not 0 to 8";
    case KERNEL_BAD_OPERATION:
      return "there is no such operation";
    case KERNEL_BAD_WORKSPACE:
      return "the workspace is too small";
    case KERNEL_BAD_ARGUMENT:
      return "an argument is out of its range";
    case KERNEL_NO_LIBRARY:
      return "a library that is opened at run time is not there, or lacks a function";
    default:
      return "a status that no function of this library returns";
  }
}
