#include "tensor.h"

#include <stdbool.h>

size_t tensor_element_size(unsigned type) {
  static const unsigned char sizes[] = {0, 8, 4, 2, 2, 8, 4, 1, 1};
  return type < sizeof sizes ? sizes[type] : 0;
}

int tensor_measure(const struct tensor *tensor, size_t *size) {
  uint64_t elements = 1;  // as if no dimension were empty
  bool is_empty = false;
  size_t element = tensor_element_size((unsigned)tensor->type);
  if (!element || tensor->rank > TENSOR_RANK) return -1;
  for (uint32_t i = 0; i < tensor->rank; i++) {
    uint64_t count = tensor->sizes[i];
    is_empty = is_empty || !count;
    if (!count) continue;
    if (count > TENSOR_ELEMENTS / elements) return -1;
    elements *= count;
  }
  *size = is_empty ? 0 : (size_t)elements * element;
  return 0;
}

static uint64_t load(const unsigned char *bytes) {
  uint64_t value = 0;
  for (unsigned i = 0; i < TENSOR_SIZE; i++) value |= (uint64_t)bytes[i] << 8 * i;
  return value;
}

int tensor_read(struct tensor *tensor, const unsigned char *bytes, size_t size) {
  if (size < TENSOR_HEADER || bytes[1] > TENSOR_RANK) return -1;
  tensor->type = bytes[0];
  tensor->rank = bytes[1];
  size_t before = bytes[2], behind = bytes[3], head = TENSOR_HEADER + TENSOR_SIZE * tensor->rank;
  if (before >= TENSOR_ALIGN || behind >= TENSOR_ALIGN || size < head + before + behind) return -1;
  for (uint32_t i = 0; i < tensor->rank; i++)
    tensor->sizes[i] = load(bytes + TENSOR_HEADER + TENSOR_SIZE * i);
  if (tensor_measure(tensor, &tensor->size)) return -1;
  tensor->elements = bytes + head + before;
  return tensor->size == size - head - before - behind ? 0 : -1;
}

size_t tensor_write(const struct tensor *tensor, unsigned before, unsigned behind,
                    unsigned char *bytes) {
  bytes[0] = (unsigned char)tensor->type;
  bytes[1] = (unsigned char)tensor->rank;
  bytes[2] = (unsigned char)before;
  bytes[3] = (unsigned char)behind;
  unsigned char *at = bytes + TENSOR_HEADER;
  for (uint32_t i = 0; i < tensor->rank; i++)
    for (unsigned j = 0; j < TENSOR_SIZE; j++) *at++ = (unsigned char)(tensor->sizes[i] >> 8 * j);
  return (size_t)(at - bytes);
}
