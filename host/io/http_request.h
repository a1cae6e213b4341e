// One HTTP request for a page: what has come of it so far, and the status it deserves. Knows neither
// sockets nor time. The syntax is read by http_parser (MIT, Joyent and others); here is what is let
// through: GET of a path, without a body, for a name of this machine.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  HTTP_REQUEST_SIZE = 8 * 1024,  // bytes of one, at most
  HTTP_PATH = 64,
  HTTP_HOST = 80,
};

struct http_parser;

struct http_request {
  struct http_parser *parser;
  size_t size;  // that came
  char path[HTTP_PATH + 1], host[HTTP_HOST + 1];
  size_t path_size, host_size;  // longer than they may be: cut
  bool in_host, has_host, has_body, is_whole;
  char name[5];  // of the header at hand: "host" at most
  size_t name_size;
  bool ends_name;
};

void http_request_open(struct http_request *request);
void http_request_close(struct http_request *request);

/// What was read. 0: more has to come; 200: `path` is asked for, with a zero behind it; else the
/// status it is refused with, and http_request_why says why.
int http_request_feed(struct http_request *request, const char *bytes, size_t size);
const char *http_request_why(int status);
/// "Not Found" and so on.
const char *http_request_status(int status);
