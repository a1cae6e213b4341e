#include "trace.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/memory.h"

enum column { ARRIVAL, FUNCTION, WORKLOAD, SERVICE, COLUMNS, DEPLOYMENT = COLUMNS, KNOWN };
enum { MOST_FIELDS = 64 };

static const char *const kColumns[] = {"arrival", "function", "workload", "service", "deployment"};
static const double kDefaultWorkload = 100;
static const double kMost = 1e12;

struct field {
  const char *text;
  size_t size;
};

struct reader {
  const char *at, *end;
  uint32_t line;
  int columns[MOST_FIELDS];  // enum column of each field; -1: none that matters
  uint32_t column_count;
  const struct trace_names *names;
  struct trace_problem *problem;
};

static bool refuse(struct reader *reader, const char *what, const char *expected,
                   struct field got) {
  int size = got.size > 40 ? 40 : (int)got.size;
  reader->problem->line = reader->line;
  snprintf(reader->problem->text, sizeof reader->problem->text, "%s: expected %s, got '%.*s'%s",
           what, expected, size, got.text, got.size > 40 ? "..." : "");
  // A terminal does what it is told by some bytes.
  for (char *at = reader->problem->text; *at; at++)
    if ((unsigned char)*at < ' ' || *at == 127) *at = '?';
  return false;
}

static bool is_space(char c) {
  return c == ' ' || c == '\t' || c == '\r';
}

static struct field trim(struct field field) {
  while (field.size && is_space(field.text[0])) field.text++, field.size--;
  while (field.size && is_space(field.text[field.size - 1])) field.size--;
  if (field.size >= 2 && field.text[0] == '"' && field.text[field.size - 1] == '"') {
    field.text++;
    field.size -= 2;
  }
  return field;
}

// The next line with something in it. False: there is none.
static bool next_line(struct reader *reader, struct field *line) {
  while (reader->at < reader->end) {
    const char *start = reader->at;
    const char *end = memchr(start, '\n', (size_t)(reader->end - start));
    reader->at = end ? end + 1 : reader->end;
    reader->line++;
    *line = trim((struct field){start, (size_t)((end ? end : reader->end) - start)});
    if (line->size && line->text[0] != '#') return true;
  }
  return false;
}

static uint32_t split(struct field line, struct field *fields) {
  uint32_t count = 0;
  for (;;) {
    const char *comma = memchr(line.text, ',', line.size);
    size_t size = comma ? (size_t)(comma - line.text) : line.size;
    fields[count++] = trim((struct field){line.text, size});
    if (!comma || count == MOST_FIELDS) return count;
    line.text += size + 1;
    line.size -= size + 1;
  }
}

// Not strtod: it depends on the locale.
static bool read_number(struct field field, double *number) {
  size_t i = 0, digits = 0;
  double value = 0;
  int scale = 0, exponent = 0;
  bool negative = field.size && field.text[0] == '-', fraction = false;
  for (i = negative; i < field.size; i++) {
    char c = field.text[i];
    if (c == '.' && !fraction) {
      fraction = true;
    } else if (c >= '0' && c <= '9') {
      value = value * 10 + (c - '0');
      scale -= fraction;
      digits++;
    } else {
      break;
    }
  }
  if (!digits || digits > 300) return false;
  if (i < field.size && (field.text[i] == 'e' || field.text[i] == 'E')) {
    bool minus = ++i < field.size && field.text[i] == '-';
    if (i < field.size && (minus || field.text[i] == '+')) i++;
    if (i == field.size) return false;
    for (; i < field.size && field.text[i] >= '0' && field.text[i] <= '9'; i++)
      if (exponent < 1000) exponent = exponent * 10 + (field.text[i] - '0');
    if (minus) exponent = -exponent;
  }
  *number = (negative ? -value : value) * pow(10, scale + exponent);
  return i == field.size && isfinite(*number);
}

static bool is_text(struct field field, const char *text) {
  return field.size == strlen(text) && !memcmp(field.text, text, field.size);
}

static bool read_header(struct reader *reader, const struct field *fields, uint32_t count) {
  bool has[KNOWN] = {false};
  for (uint32_t i = 0; i < count; i++) {
    reader->columns[i] = -1;
    for (int column = 0; column < KNOWN; column++) {
      if (!is_text(fields[i], kColumns[column])) continue;
      if (has[column]) return refuse(reader, "names of columns", "each once", fields[i]);
      has[column] = true;
      reader->columns[i] = column;
    }
  }
  reader->column_count = count;
  if (!has[ARRIVAL]) return refuse(reader, "names of columns", "one that is 'arrival'", fields[0]);
  if (!has[FUNCTION] && reader->names->function_count > 1)
    return refuse(reader, "names of columns",
                  "one that is 'function', as the deployment has several", fields[0]);
  return true;
}

// True: the first line is a call already.
static bool has_no_header(struct reader *reader, const struct field *fields) {
  double number;
  if (!read_number(fields[0], &number)) return false;
  for (int i = 0; i < COLUMNS; i++) reader->columns[i] = i;
  reader->column_count = COLUMNS;
  return true;
}

static bool read_function(struct reader *reader, struct field field, uint32_t *function) {
  for (*function = 0; *function < reader->names->function_count; ++*function)
    if (is_text(field, reader->names->functions[*function])) return true;
  char expected[120] = "a function of the deployment:";
  size_t used = strlen(expected);
  for (uint32_t i = 0; i < reader->names->function_count && used < sizeof expected - 1; i++) {
    int wrote = snprintf(expected + used, sizeof expected - used, "%s %s", i ? "," : "",
                         reader->names->functions[i]);
    used += wrote > 0 ? (size_t)wrote : 0;
  }
  return refuse(reader, "function", expected, field);
}

static bool read_call(struct reader *reader, const struct field *fields, uint32_t count,
                      struct trace_call *call) {
  static const char *const numbers[] = {"seconds", "", "a number from 0 to 1e12",
                                        "seconds, at least 0, or nothing"};
  double values[COLUMNS] = {-1, 0, kDefaultWorkload, -1};
  bool has_arrival = false;
  call->function = 0;
  for (uint32_t i = 0; i < count && i < reader->column_count; i++) {
    int column = reader->columns[i];
    if (column < 0 || column == DEPLOYMENT) continue;
    if (column == FUNCTION) {
      if (!read_function(reader, fields[i], &call->function)) return false;
      continue;
    }
    if (!fields[i].size && column != ARRIVAL) continue;  // left out
    double *value = &values[column];
    bool is_one = read_number(fields[i], value) && *value <= kMost;
    if (!is_one || *value < (column == ARRIVAL ? -kMost : 0))
      return refuse(reader, kColumns[column], numbers[column], fields[i]);
    has_arrival |= column == ARRIVAL;
  }
  if (!has_arrival)
    return refuse(reader, "arrival", "as many columns as the first line has", fields[0]);
  call->arrival = values[ARRIVAL];
  call->workload = values[WORKLOAD];
  call->service = values[SERVICE];
  return true;
}

static bool is_of_another(const struct reader *reader, const struct field *fields, uint32_t count) {
  for (uint32_t i = 0; i < count && i < reader->column_count; i++)
    if (reader->columns[i] == DEPLOYMENT && !is_text(fields[i], reader->names->deployment))
      return true;
  return false;
}

// Merge sort: calls that came at the same time stay as they are.
static void sort(struct trace_call *calls, struct trace_call *scratch, size_t count) {
  if (count < 2) return;
  size_t half = count / 2, left = 0, right = half;
  sort(calls, scratch, half);
  sort(calls + half, scratch, count - half);
  for (size_t i = 0; i < count; i++) {
    bool from_left = right == count || (left < half && calls[left].arrival <= calls[right].arrival);
    scratch[i] = calls[from_left ? left++ : right++];
  }
  memcpy(calls, scratch, count * sizeof *calls);
}

static bool is_sorted(const struct trace *trace) {
  for (size_t i = 1; i < trace->count; i++)
    if (trace->calls[i].arrival < trace->calls[i - 1].arrival) return false;
  return true;
}

static bool read_all(struct reader *reader, struct trace **trace) {
  struct field line, fields[MOST_FIELDS];
  size_t capacity = 0;
  bool is_first = true;
  while (next_line(reader, &line)) {
    uint32_t count = split(line, fields);
    if (is_first && !has_no_header(reader, fields)) {
      if (!read_header(reader, fields, count)) return false;
      is_first = false;
      continue;
    }
    is_first = false;
    if (is_of_another(reader, fields, count)) continue;
    if ((*trace)->count == capacity) {
      capacity = capacity ? 2 * capacity : 1024;
      *trace = xrealloc(*trace, sizeof **trace + capacity * sizeof *(*trace)->calls);
    }
    if (!read_call(reader, fields, count, &(*trace)->calls[(*trace)->count])) return false;
    (*trace)->count++;
  }
  if ((*trace)->count) return true;
  return refuse(reader, "calls", "lines with 'arrival,function,workload,service'",
                (struct field){"", 0});
}

struct trace *trace_read(const char *text, size_t size, const struct trace_names *names,
                         struct trace_problem *problem) {
  static const char kMark[] = "\xef\xbb\xbf";  // of UTF-8, as spreadsheets write it
  size_t marked = size >= sizeof kMark - 1 && !memcmp(text, kMark, sizeof kMark - 1);
  struct reader reader = {.at = text + marked * (sizeof kMark - 1),
                          .end = text + size,
                          .names = names,
                          .problem = problem};
  struct trace *trace = xcalloc(1, sizeof *trace);
  if (!read_all(&reader, &trace)) {
    free(trace);
    return NULL;
  }
  if (!is_sorted(trace)) {
    struct trace_call *scratch = xcalloc(trace->count, sizeof *scratch);
    sort(trace->calls, scratch, trace->count);
    free(scratch);
  }
  double first = trace->calls[0].arrival;
  for (size_t i = 0; i < trace->count; i++) trace->calls[i].arrival -= first;
  return trace;
}
