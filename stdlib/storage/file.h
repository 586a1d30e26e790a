/* file.h - files as values: a handle of type "file" whose bytes live in the request heap. It prints
 * as {"name","size","mime"}; its members read the same. Thread: the fiber's. */
#ifndef STDLIB_STORAGE_FILE_H
#define STDLIB_STORAGE_FILE_H

#include "core/buf.h"
#include "vm/native.h"

typedef struct FileView {
    Text name, mime, data; /* until the handle is released */
} FileView;

/** A new file. data: V_TEXT, consumed, also on failure. mime len 0 = by name and content. V_UNSET:
 * memory. */
Value file_new(Heap *h, Text name, Text mime, Value data);
bool file_view(Value v, FileView *out);
/** Replace the bytes of a file (the archives of zip.*). data: V_TEXT, consumed. */
XS_MUST_CHECK bool file_set_data(Heap *h, Value file, Value data);
/* An upload on its way to a program is a map of name, size, mime and this key with the bytes. */
#define UPLOAD_DATA TEXT("\0data")
/** Replace the uploads in *v (owned) by file handles, at any depth up to 16. false: memory. */
XS_MUST_CHECK bool uploads_to_files(Heap *h, Value *v);
/** By content where it is telling, else by the ending of the name. */
Text mime_of(Text name, Text data);

#endif
