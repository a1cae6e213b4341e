// What a user's own kernels are compiled with where there is no GPU: what CUDA C knows without an
// #include, and how kernels are found and launched by their names.
//
//   #include "simt_module.h"
//   extern "C" __global__ void scale(float *x, float by, int n) { ... }
//   static const simt::registration any_name("scale", &scale);
#pragma once

#include "kernels.h"
#include "simt.h"
#include "simt_math.h"

namespace simt {

// Dynamic shared memory that is declared outside of a function.
template <class T>
struct dynamic_array {
  template <class To>
  operator To *() const {
    return reinterpret_cast<To *>(dynamic_memory());
  }
  T &operator[](size_t i) const {
    return reinterpret_cast<T *>(dynamic_memory())[i];
  }
  T *operator+(size_t i) const {
    return reinterpret_cast<T *>(dynamic_memory()) + i;
  }
  T &operator*() const {
    return *reinterpret_cast<T *>(dynamic_memory());
  }
};

inline const struct kernel_entry *first_entry;
inline const struct kernel_entry **last_entry = &first_entry;

template <class F>
struct registration;

template <class... P>
struct registration<void (*)(P...)> {
  struct entry : kernel_entry {
    void (*kernel)(P...);
  };
  entry kept;

  template <size_t... I>
  static void start_with(const entry *e, const uint32_t *shape, size_t shared, void *stream,
                         void **arguments, std::index_sequence<I...>) {
    (void)arguments;
    start(e->name, e->kernel, dim3(shape[0], shape[1], shape[2]),
          dim3(shape[3], shape[4], shape[5]), shared, stream,
          *static_cast<std::decay_t<P> *>(arguments[I])...);
  }

  static int launch(const struct kernel_entry *e, const uint32_t *shape, uint64_t shared,
                    void *stream, void **arguments) {
    start_with(static_cast<const entry *>(e), shape, shared, stream, arguments,
               std::index_sequence_for<P...>());
    return simt_last_error();
  }

  registration(const char *name, void (*kernel)(P...)) {
    static const uint64_t sizes[] = {sizeof(P)..., 0};
    kept.name = name;
    kept.parameters = static_cast<int32_t>(sizeof...(P));
    kept.sizes = sizes;
    kept.launch = launch;
    kept.next = nullptr;
    kept.kernel = kernel;
    *last_entry = &kept;
    last_entry = &kept.next;
  }
};

template <class... P>
registration(const char *, void (*)(P...)) -> registration<void (*)(P...)>;

}  // namespace simt

extern "C" __attribute__((visibility("default"))) const struct kernel_entry *kernel_entries(void) {
  return simt::first_entry;
}
