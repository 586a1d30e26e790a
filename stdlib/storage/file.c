/* file.c - file handles and what kind of content they have. */
#include "stdlib/storage/file.h"

#include "core/text.h"
#include "vm/obj.h"

static const char type[] = "file";

static void file_free(Heap *h, HandleObj *self)
{
    if (self->ptr) {
        val_unref(h, val_obj(V_TEXT, self->ptr));
        self->ptr = NULL;
    }
}

Text mime_of(Text name, Text data)
{
    static const struct {
        const char *mark;
        size_t len;
        const char *mime;
    } marks[] = {
        {"\xff\xd8\xff", 3, "image/jpeg"},
        {"\x89PNG\r\n\x1a\n", 8, "image/png"},
        {"GIF87a", 6, "image/gif"},
        {"GIF89a", 6, "image/gif"},
        {"%PDF-", 5, "application/pdf"},
        {"PK\3\4", 4, "application/zip"},
        {"\x1f\x8b", 2, "application/gzip"},
        {"OggS", 4, "audio/ogg"},
        {"ID3", 3, "audio/mpeg"},
        {"\x1a\x45\xdf\xa3", 4, "video/webm"},
    };
    static const char *const endings[][2] = {
        {".txt", "text/plain"},
        {".csv", "text/csv"},
        {".html", "text/html"},
        {".htm", "text/html"},
        {".css", "text/css"},
        {".js", "text/javascript"},
        {".mjs", "text/javascript"},
        {".json", "application/json"},
        {".map", "application/json"},
        {".webmanifest", "application/manifest+json"},
        {".wasm", "application/wasm"},
        {".woff2", "font/woff2"},
        {".woff", "font/woff"},
        {".ttf", "font/ttf"},
        {".ico", "image/x-icon"},
        {".avif", "image/avif"},
        {".xml", "application/xml"},
        {".svg", "image/svg+xml"},
        {".md", "text/markdown"},
        {".pdf", "application/pdf"},
        {".zip", "application/zip"},
        {".png", "image/png"},
        {".jpg", "image/jpeg"},
        {".jpeg", "image/jpeg"},
        {".gif", "image/gif"},
        {".webp", "image/webp"},
        {".mp3", "audio/mpeg"},
        {".wav", "audio/wav"},
        {".mp4", "video/mp4"},
        {".webm", "video/webm"},
        {".yaml", "application/yaml"},
        {".ics", "text/calendar"},
        {".docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
        {".xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    };
    if (data.len > 12 && memcmp(data.ptr, "RIFF", 4) == 0)
        return memcmp(data.ptr + 8, "WEBP", 4) == 0 ? TEXT("image/webp") : TEXT("audio/wav");
    if (data.len > 12 && memcmp(data.ptr + 4, "ftyp", 4) == 0)
        return TEXT("video/mp4");
    char end[16];
    Text lower = text_slice(name, name.len > sizeof end ? name.len - sizeof end : 0, name.len);
    for (size_t i = 0; i < lower.len; i++)
        end[i] =
            lower.ptr[i] >= 'A' && lower.ptr[i] <= 'Z' ? (char)(lower.ptr[i] | 32) : lower.ptr[i];
    Text ending = {end, lower.len};
    bool office = text_ends(ending, TEXT(".docx")) || text_ends(ending, TEXT(".xlsx"));
    for (size_t i = 0; !office && i < COUNT_OF(marks); i++)
        if (text_starts(data, (Text){marks[i].mark, marks[i].len}))
            return text_from(marks[i].mime);
    for (size_t i = 0; i < COUNT_OF(endings); i++)
        if (text_ends(ending, text_from(endings[i][0])))
            return text_from(endings[i][1]);
    return utf8_valid(data) ? TEXT("text/plain") : TEXT("application/octet-stream");
}

static bool describe(Heap *h, HandleObj *f, Text name, Text mime)
{
    Value v = map_new(h, 3);
    bool ok = v.kind == V_MAP && map_set_text(h, &v, TEXT("name"), text_new(h, name)) &&
              map_set_text(h, &v, TEXT("size"), val_int(f->n)) &&
              map_set_text(h, &v, TEXT("mime"), text_new(h, mime));
    if (!ok) {
        val_unref(h, v);
        return false;
    }
    f->value = v;
    return true;
}

Value file_new(Heap *h, Text name, Text mime, Value data)
{
    if (data.kind != V_TEXT) {
        val_unref(h, data);
        return val_unset();
    }
    Value v = handle_new(h, type, data.text, file_free);
    if (v.kind == V_UNSET) {
        val_unref(h, data);
        return v;
    }
    Text bytes = val_text_view(data);
    v.handle->n = (int64_t)bytes.len;
    if (describe(h, v.handle, name, mime.len ? mime : mime_of(name, bytes)))
        return v;
    val_unref(h, v);
    return val_unset();
}

bool file_view(Value v, FileView *out)
{
    if (v.kind != V_HANDLE || strcmp(v.handle->type, type) != 0 || !v.handle->ptr)
        return false;
    Value name = map_get_cstr(v.handle->value, "name"),
          mime = map_get_cstr(v.handle->value, "mime");
    *out = (FileView){.name = name.kind == V_TEXT ? val_text_view(name) : TEXT(""),
                      .mime = mime.kind == V_TEXT ? val_text_view(mime) : TEXT(""),
                      .data = val_text_view(val_obj(V_TEXT, v.handle->ptr))};
    return true;
}

bool file_set_data(Heap *h, Value file, Value data)
{
    if (data.kind != V_TEXT)
        return false;
    HandleObj *f = file.handle;
    val_unref(h, val_obj(V_TEXT, f->ptr));
    f->ptr = data.text;
    f->n = (int64_t)data.text->len;
    return map_set_text(h, &f->value, TEXT("size"), val_int(f->n));
}

/* ---- uploads ---- */

enum { UPLOAD_DEPTH = 16 };

static Value upload_file(Heap *h, Value map, Value data)
{
    Value name = map_get_cstr(map, "name"), mime = map_get_cstr(map, "mime");
    return file_new(h, name.kind == V_TEXT ? val_text_view(name) : TEXT(""),
                    mime.kind == V_TEXT ? val_text_view(mime) : TEXT(""), val_ref(data));
}

/* The replacement of v when it is, or holds, an upload; *changed says so. V_UNSET: memory. */
static Value replaced(Heap *h, Value v, unsigned depth, bool *changed)
{
    const Value *data = v.kind == V_MAP ? map_find(v.map, UPLOAD_DATA) : NULL;
    if (data && data->kind == V_TEXT) {
        *changed = true;
        return upload_file(h, v, *data);
    }
    Value out = val_ref(v);
    if ((v.kind != V_LIST && v.kind != V_MAP) || depth > UPLOAD_DEPTH)
        return out;
    uint32_t at = 0, i = 0;
    for (;;) {
        const MapEntry *e = v.kind == V_MAP ? map_walk(v.map, &at) : NULL;
        if (v.kind == V_MAP ? !e : i >= v.list->len)
            return out;
        bool inner = false, ok = true;
        Value item = replaced(h, e ? e->value : list_at(v.list, i), depth + 1, &inner);
        ok = item.kind != V_UNSET;
        if (ok && inner)
            ok = e ? map_set(h, &out, val_ref(val_obj(V_TEXT, e->key)), item)
                   : list_set(h, &out, i, item);
        else
            val_unref(h, item);
        *changed = *changed || inner;
        i++;
        if (!ok) {
            val_unref(h, out);
            return val_unset();
        }
    }
}

bool uploads_to_files(Heap *h, Value *v)
{
    bool changed = false;
    Value out = replaced(h, *v, 0, &changed);
    if (out.kind == V_UNSET)
        return false;
    val_unref(h, *v);
    *v = out;
    return true;
}
