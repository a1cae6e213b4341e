// A tensor among the values of a body: the content of extension EXT_TENSOR.
//
//   u8   type of the elements, see below
//   u8   rank: how many dimensions, 0 to 8
//   u8   padding before the elements, 0 to 63 zero bytes
//   u8   padding behind them
//   u64  little-endian, for each dimension: its size
//   ...  padding, elements, padding
//
// The elements lie in order, the last dimension's next to each other, little-endian, without gaps.
// What is large is padded so that the elements begin at a multiple of 64 bytes from the start of the
// body: a receiver uses them where they lie. Readers must not rely on it.
#pragma once

#include <stddef.h>
#include <stdint.h>

enum {
  TENSOR_RANK = 8,
  TENSOR_HEADER = 4,  // bytes without the sizes
  TENSOR_SIZE = 8,    // bytes of the size of a dimension
  TENSOR_LARGEST_HEAD = TENSOR_HEADER + TENSOR_SIZE * TENSOR_RANK,
  TENSOR_ALIGN = 64,
};

/// No tensor has more elements, empty dimensions counted as one.
#define TENSOR_ELEMENTS (UINT64_C(1) << 47)

enum tensor_type {
  TENSOR_F64 = 1,
  TENSOR_F32,
  TENSOR_F16,
  TENSOR_BF16,
  TENSOR_I64,
  TENSOR_I32,
  TENSOR_U8,
  TENSOR_BOOL,  // a byte: 0 is false, any other true
};

struct tensor {
  enum tensor_type type;
  uint32_t rank;
  uint64_t sizes[TENSOR_RANK];
  const unsigned char *elements;
  size_t size;  // of the elements in bytes
};

/// Bytes of an element; 0: there is no such type.
size_t tensor_element_size(unsigned type);

/// The bytes of all elements from type, rank and sizes. 0, or -1: no such type, too many dimensions
/// or elements.
int tensor_measure(const struct tensor *tensor, size_t *size);

/// Reads the content of an extension. 0, or -1: it is none.
int tensor_read(struct tensor *tensor, const unsigned char *bytes, size_t size);

/// Writes type, rank, paddings and sizes; `bytes` has room for TENSOR_LARGEST_HEAD. Returns how many
/// bytes.
size_t tensor_write(const struct tensor *tensor, unsigned before, unsigned behind,
                    unsigned char *bytes);
