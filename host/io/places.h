// Where workers can stand on this machine: on its GPUs, one each; where there are none, on the cores.
//
// GPUs are counted without CUDA: those that CUDA_VISIBLE_DEVICES of this process names, or, where it
// is not set, the devices /dev/nvidia0, /dev/nvidia1, ...
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// GPUs that this process may use.
uint32_t places_devices(void);
/// Cores that it may use.
uint32_t places_cores(void);

/// What CUDA_VISIBLE_DEVICES is for a worker that is to use the device of that number alone: as this
/// process's own list names it. False: there is none, or its name is too long.
bool places_device(uint32_t device, char *name, size_t size);
