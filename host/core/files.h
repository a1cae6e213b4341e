// Which files of a deployment differ between a router and a client that has another hash of it.
//
// A HELLO has no room for them. So the error with which the router refuses the client ends in the
// router's own files, and the client puts in their place which ones differ from what it has.
//
//   digests   {[path] = SHA-256 of what is in it, hex}; digits at the end may be left off, eight
//             have to stay
//   files     what became of them, by path, at most 100: "deploy.lua (changed)"; "added": only the
//             client has it; "missing": only the router has. The first five stand in the message.
//
// Pure. A peer is trusted in nothing, but its bytes were scanned.
#pragma once

struct error_writer;
struct payload;

/// What the message says behind which the client puts the names.
#define FILES_OTHER "from other files than this client's"

/// Ends an error as error_end does, with the map in `files`, a body [{...}] of one part, as digests.
/// It is not copied: the error holds a reference. NULL, or more than LIMIT_FILES: without.
struct payload *files_end(struct error_writer *writer, struct payload *files);

/// Returns the error as the client is to see it, which has the body [{...}] `mine`, or NULL: with
/// `files` for digests. Takes over `error`, and returns it as it is if it has no digests.
struct payload *files_explain(struct payload *error, const struct payload *mine);
