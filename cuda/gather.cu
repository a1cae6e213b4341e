// Elements from places along a dimension that indices tell.
//
// The dimension along which is gathered has no step in the input: what it adds comes from the
// index. Where neighbours in memory have one index, which is so for whole rows, they are copied as
// packs. An index that leads out of the input is never followed: zeros are written instead, and
// somebody is told.
#include "elementwise.h"

// Where the input's dimension lies, and how indices count it.
struct places {
  int64_t step;    // elements from one place to the next
  uint64_t count;  // places there are
  int64_t first;   // number of the first
  unsigned long long *wrong;
};

// The offset of an index in the input.
template <class I>
static __device__ __forceinline__ int64_t place_of(const places &p, I index, bool *is_there) {
  const uint64_t place = static_cast<uint64_t>(index) - static_cast<uint64_t>(p.first);
  *is_there = place < p.count;
  if (*is_there) return static_cast<int64_t>(place) * p.step;
  // A negative one counts as very large.
  if (p.wrong) atomicMax(p.wrong, static_cast<unsigned long long>(place));
  return 0;
}

template <int V, class T, class I>
static __global__ void __launch_bounds__(256)
    gather_packs(plan<3> p, places along, T *out, const T *in, const I *index) {
  const share mine = share_of(p.units);
  for (uint32_t unit = mine.first; unit < mine.end; unit += mine.step) {
    int64_t at[3];
    plan_at(p, unit, at);
    bool is_there;
    const int64_t place = place_of(along, index[at[2]], &is_there);
    pack<T, V> value = {};
    if (is_there) value = *reinterpret_cast<const pack<T, V> *>(in + at[1] + place);
    *reinterpret_cast<pack<T, V> *>(out + at[0]) = value;
  }
}

// A unit is up to `width` neighbours, which on the processor one thread has.
template <class T, class I>
static __global__ void gather_runs(plan<3> p, places along, int width, T *out, const T *in,
                                   const I *index) {
  const share mine = share_of(p.units);
  for (uint32_t unit = mine.first; unit < mine.end; ++unit) {
    int64_t at[3];
    const int first = static_cast<int>(plan_at(p, unit, at)) * width;
    const int length = first + width < p.inner ? width : p.inner - first;
    T *to = out + at[0];
    const T *from = in + at[1];
    bool is_there;
    if (p.step[2] == 0) {
      from += place_of(along, index[at[2]], &is_there);
      if (!is_there) {
        for (int i = 0; i < length; ++i) to[i * p.step[0]] = 0;
      } else if (p.step[0] == 1 && p.step[1] == 1) {
        memcpy(to, from, sizeof(T) * static_cast<size_t>(length));
      } else {
        for (int i = 0; i < length; ++i) to[i * p.step[0]] = from[i * p.step[1]];
      }
      continue;
    }
    for (int i = 0; i < length; ++i) {
      const int64_t place = place_of(along, index[at[2] + i * p.step[2]], &is_there);
      to[i * p.step[0]] = is_there ? from[i * p.step[1] + place] : T(0);
    }
  }
}

// ---- On the caller's side.

template <class T, class I>
static int gather_part(const layout<3> &l, const places &along, T *out, const T *in, const I *index,
                       void *stream) {
  plan<3> p;
  if constexpr (kSerial) {
    const int width = 4096;
    plan_make(&p, l, width);
    SIMT_LAUNCH((gather_runs<T, I>), grid_for(p.units, l.shape[0] < width ? l.shape[0] : width), 1,
                0, stream, p, along, width, out, in, index);
  } else {
    constexpr int V = kPackBytes / static_cast<int>(sizeof(T));
    const bool packs = l.stride[1][0] == 1 && l.stride[2][0] == 0 && l.shape[0] % V == 0 &&
                       along.step % V == 0 && packs_fit(l, 0, out, V) && packs_fit(l, 1, in, V);
    plan_make(&p, l, packs ? V : 1);
    if (packs) {
      SIMT_LAUNCH((gather_packs<V, T, I>), grid_for(p.units, V), kBlock, 0, stream, p, along, out,
                  in, index);
    } else {
      SIMT_LAUNCH((gather_packs<1, T, I>), grid_for(p.units, 1), kBlock, 0, stream, p, along, out,
                  in, index);
    }
  }
  return simt_last_error();
}

int kernel_gather(const struct kernel_view *out, const struct kernel_view *in,
                  const struct kernel_view *index, int axis, int64_t first, uint64_t *wrong,
                  void *stream) {
  if (!view_ok(out) || !view_ok(in) || !view_ok(index) || !same_shape(out, index) ||
      in->rank != out->rank || axis < 0 || axis >= in->rank) {
    return KERNEL_BAD_SHAPE;
  }
  for (int d = 0; d < in->rank; ++d) {
    if (d != axis && in->shape[d] != out->shape[d]) return KERNEL_BAD_SHAPE;
  }
  if (!dtype_ok(in) || out->dtype != in->dtype) return KERNEL_BAD_DTYPE;
  if (index->dtype != KERNEL_I64 && index->dtype != KERNEL_I32) return KERNEL_BAD_DTYPE;
  if (in->shape[axis] == 0 && view_count(out) > 0) return KERNEL_BAD_SHAPE;
  const places along = {in->stride[axis], static_cast<uint64_t>(in->shape[axis]), first,
                        reinterpret_cast<unsigned long long *>(wrong)};
  struct kernel_view rest = *in;
  rest.shape[axis] = out->shape[axis];
  rest.stride[axis] = 0;
  const struct kernel_view *const views[3] = {out, &rest, index};
  layout<3> l;
  int status = layout_make(&l, views);
  if (status) return status;
  const int64_t start[3] = {};
  return layout_parts(l, start, [&](const layout<3> &part, const int64_t(&offset)[3]) {
    return with_size(in->dtype, [&](auto of) {
      using T = element_of<decltype(of)>;
      T *to = static_cast<T *>(out->data) + offset[0];
      const T *from = static_cast<const T *>(in->data) + offset[1];
      if (index->dtype == KERNEL_I32) {
        return gather_part(part, along, to, from,
                           static_cast<const int32_t *>(index->data) + offset[2], stream);
      }
      return gather_part(part, along, to, from,
                         static_cast<const int64_t *>(index->data) + offset[2], stream);
    });
  });
}

int kernel_take(const struct kernel_view *out, const struct kernel_view *in,
                const struct kernel_view *index, int axis, int64_t first, uint64_t *wrong,
                void *stream) {
  if (!view_ok(out) || !view_ok(index) || index->rank != 1 || axis < 0 || axis >= out->rank ||
      index->shape[0] != out->shape[axis]) {
    return KERNEL_BAD_SHAPE;
  }
  struct kernel_view wide = *out;
  wide.data = index->data;
  wide.dtype = index->dtype;
  for (int d = 0; d < out->rank; ++d) wide.stride[d] = d == axis ? index->stride[0] : 0;
  return kernel_gather(out, in, &wide, axis, first, wrong, stream);
}
