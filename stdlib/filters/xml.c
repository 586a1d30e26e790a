/* xml.c - the XML filter, over expat. Nothing outside the text is read, and a document that
 * declares entities of its own is refused: the result cannot grow beyond the text. filters.md
 * §4.12. */
#include <expat.h>

#include "core/json.h"
#include "core/mem.h"
#include "stdlib/filters/codec.h"
#include "stdlib/filters/helpers.h"

enum {
    XML_MAX_BYTES = 16 << 20,
    XML_MAX_NODES = 1000 * 1000, /* elements and attributes */
    XML_MAX_DEPTH =
        JSON_MAX_DEPTH / 3, /* an element makes three levels: itself, its parts, children */
    XML_MAX_ATTLIST = 64    /* declared attributes: each is looked at for every element */
};

typedef struct XmlFrame {
    Value name;
    Value attributes; /* [] or a map */
    Value children;   /* V_UNSET = none yet */
} XmlFrame;

typedef struct XmlReader {
    Call *c;
    XML_Parser parser;
    bool failed; /* c->err is set; handlers may still be called */
    uint32_t nodes, attlists, depth;
    Buf text; /* of the innermost element, as long as it has no children */
    Value root;
    XmlFrame frames[XML_MAX_DEPTH];
} XmlReader;

/* XS_OK: the heap's memory error. */
static void stop(XmlReader *r, xs_code code, const char *why)
{
    if (r->failed)
        return;
    r->failed = true;
    if (code == XS_E_BAD_XML)
        call_fail(r->c, code, "Error parsing XML: %s at line %lu, column %lu", why,
                  XML_GetCurrentLineNumber(r->parser), XML_GetCurrentColumnNumber(r->parser) + 1);
    else if (code == XS_OK)
        flt_memory(r->c);
    else
        call_fail(r->c, code, NULL);
    XML_StopParser(r->parser, XML_FALSE);
}

/* V_UNSET: memory. */
static Value attributes_value(Heap *h, const char **attrs, int count)
{
    Value v = count ? map_new(h, (uint32_t)count / 2) : list_new(h, 0);
    for (int i = 0; v.kind == V_MAP && i < count; i += 2) {
        if (!map_set_text(h, &v, text_from(attrs[i]), text_new(h, text_from(attrs[i + 1])))) {
            val_unref(h, v);
            return val_unset();
        }
    }
    return v;
}

static void free_frame(Heap *h, XmlFrame *f)
{
    val_unref(h, f->name);
    val_unref(h, f->attributes);
    val_unref(h, f->children);
}

static void XMLCALL on_start(void *ctx, const char *name, const char **attrs)
{
    XmlReader *r = ctx;
    Heap *h = r->c->heap;
    if (r->failed)
        return;
    int count =
        XML_GetSpecifiedAttributeCount(r->parser); /* defaults of a DTD stand behind these */
    r->nodes += 1 + (uint32_t)count / 2;
    if (r->nodes > XML_MAX_NODES) {
        stop(r, XS_E_BAD_XML, "too many elements");
        return;
    }
    if (r->depth == XML_MAX_DEPTH) {
        stop(r, XS_E_BAD_XML, "nested too deeply");
        return;
    }
    XmlFrame *parent = r->depth ? &r->frames[r->depth - 1] : NULL;
    if (parent && parent->children.kind == V_UNSET)
        parent->children = list_new(h, 0);
    XmlFrame f = {text_new(h, text_from(name)), attributes_value(h, attrs, count), val_unset()};
    if ((parent && parent->children.kind == V_UNSET) || f.name.kind == V_UNSET ||
        f.attributes.kind == V_UNSET) {
        free_frame(h, &f);
        stop(r, XS_OK, NULL);
        return;
    }
    r->frames[r->depth++] = f;
    r->text.len = 0;
}

static void XMLCALL on_text(void *ctx, const char *s, int len)
{
    XmlReader *r = ctx;
    if (r->failed || !r->depth || r->frames[r->depth - 1].children.kind != V_UNSET)
        return; /* text next to children is dropped */
    if (!buf_append(&r->text, s, (size_t)len))
        stop(r, XS_E_NOMEM, NULL);
}

/* {name: {"@attributes": …, "value": …}}; consumes the frame. V_UNSET: memory. */
static Value element_value(Heap *h, XmlFrame *f, Text text)
{
    Value parts = map_new(h, 2), element = map_new(h, 1);
    Value value = f->children.kind != V_UNSET ? f->children : text_new(h, text);
    bool ok = parts.kind != V_UNSET && element.kind != V_UNSET;
    if (!ok) {
        val_unref(h, f->attributes);
        val_unref(h, value);
    } else {
        ok = map_set_text(h, &parts, TEXT("@attributes"), f->attributes);
        /* Both, so that both values are consumed. */
        ok = map_set_text(h, &parts, TEXT("value"), value) && ok;
    }
    if (ok && map_set(h, &element, f->name, parts))
        return element;
    if (!ok) {
        val_unref(h, f->name);
        val_unref(h, parts);
    }
    val_unref(h, element);
    return val_unset();
}

static void XMLCALL on_end(void *ctx, const char *name)
{
    XmlReader *r = ctx;
    Heap *h = r->c->heap;
    (void)name;
    if (r->failed)
        return;
    XmlFrame f = r->frames[--r->depth];
    Value element = element_value(h, &f, buf_view(&r->text));
    r->text.len = 0;
    bool ok = element.kind != V_UNSET;
    if (ok && r->depth)
        ok = list_push(h, &r->frames[r->depth - 1].children, element);
    else if (ok)
        r->root = element;
    if (!ok)
        stop(r, XS_OK, NULL);
}

static void XMLCALL on_entity(void *ctx, const char *name, int parameter, const char *value,
                              int len, const char *base, const char *system, const char *public,
                              const char *notation)
{
    (void)name, (void)parameter, (void)value, (void)len;
    (void)base, (void)system, (void)public, (void)notation;
    stop(ctx, XS_E_BAD_XML, "entity declarations are not supported");
}

static void XMLCALL on_skipped(void *ctx, const char *name, int parameter)
{
    (void)name;
    if (!parameter) /* a parameter entity could only declare things */
        stop(ctx, XS_E_BAD_XML, "undefined entity");
}

static void XMLCALL on_attlist(void *ctx, const char *element, const char *name, const char *type,
                               const char *otherwise, int required)
{
    XmlReader *r = ctx;
    (void)element, (void)name, (void)type, (void)otherwise, (void)required;
    if (++r->attlists > XML_MAX_ATTLIST)
        stop(r, XS_E_BAD_XML, "too many attribute declarations");
}

static bool parse(XmlReader *r, Text in)
{
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetEntityDeclHandler(r->parser, on_entity);
    XML_SetSkippedEntityHandler(r->parser, on_skipped);
    XML_SetAttlistDeclHandler(r->parser, on_attlist);
    XML_SetParamEntityParsing(r->parser, XML_PARAM_ENTITY_PARSING_NEVER);
    bool ok = XML_Parse(r->parser, in.ptr, (int)in.len, 1) == XML_STATUS_OK;
    if (ok || r->failed)
        return ok && !r->failed;
    enum XML_Error code = XML_GetErrorCode(r->parser);
    stop(r, code == XML_ERROR_NO_MEMORY ? XS_E_NOMEM : XS_E_BAD_XML, XML_ErrorString(code));
    return false;
}

static bool decode(XmlReader *r, Text in)
{
    static const XML_Memory_Handling_Suite memory = {mem_alloc, mem_realloc, mem_free};
    r->parser = XML_ParserCreate_MM(NULL, &memory, NULL);
    if (!r->parser)
        return call_fail(r->c, XS_E_NOMEM, NULL);
    bool ok = parse(r, in);
    XML_ParserFree(r->parser);
    buf_deinit(&r->text);
    while (r->depth)
        free_frame(r->c->heap, &r->frames[--r->depth]);
    if (ok)
        return call_return(r->c, r->root);
    val_unref(r->c->heap, r->root);
    return false;
}

bool flt_xml_decode(Call *c)
{
    Text in;
    if (!call_text(c, 0, &in))
        return false;
    if (in.len > XML_MAX_BYTES)
        return call_fail(c, XS_E_BAD_XML, "Error parsing XML: longer than %d bytes", XML_MAX_BYTES);
    XmlReader *r = mem_zalloc(1, sizeof *r);
    if (!r)
        return call_fail(c, XS_E_NOMEM, NULL);
    r->c = c;
    bool ok = decode(r, in);
    mem_free(r);
    return ok;
}
