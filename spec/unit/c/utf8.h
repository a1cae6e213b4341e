// UTF-8 as its definition has it, to compare with.
#pragma once

#include <stddef.h>

// The character's number by the definition, or -1.
static inline long utf8_decode(const unsigned char *bytes, size_t size, size_t *length) {
  static const long smallest[] = {0, 0, 0x80, 0x800, 0x10000};
  unsigned first = bytes[0];
  *length = first < 0x80       ? 1
            : first >> 5 == 6  ? 2
            : first >> 4 == 14 ? 3
            : first >> 3 == 30 ? 4
                               : 0;
  if (!*length || *length > size) return -1;
  long number = *length == 1 ? (long)first : (long)(first & (0x7fu >> *length));
  for (size_t i = 1; i < *length; i++) {
    if (bytes[i] >> 6 != 2) return -1;
    number = number << 6 | (bytes[i] & 0x3f);
  }
  if (number < smallest[*length] || number > 0x10ffff) return -1;
  return number >= 0xd800 && number <= 0xdfff ? -1 : number;
}

/// How many bytes are whole characters.
static inline size_t utf8_prefix(const unsigned char *bytes, size_t size) {
  size_t at = 0, length;
  while (at < size && utf8_decode(bytes + at, size - at, &length) >= 0) at += length;
  return at;
}
