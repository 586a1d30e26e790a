/* requests.c - raw bytes to a real server: malformed and ambiguous requests get the right status,
 * lose their connection, reach no program, and leave their neighbours alone. usage: requests XS APP
 *
 * Each case: what is sent ("~" pauses), the statuses of the answers in order ("" = none), and
 * whether the server closes the connection without being asked to. */
#include <ctype.h>

#include "tests/common/server.h"

enum { PER_CLIENT = 4, ANSWER_MAX = 256 << 10, CASE_MS = 6000, PAUSE_MS = 40, QUIET_MS = 50 };

typedef struct Case {
    const char *name, *send, *statuses;
    bool closes;
    const char *contains; /* in what came back; NULL = anything */
    const char *lacks;    /* not in it */
} Case;

#define H      "Host: h\r\n"
#define GET_OK "GET /api:raw/hello HTTP/1.1\r\n" H "\r\n"
#define POST   "POST /api:raw/echo HTTP/1.1\r\n" H "Content-Type: application/json\r\n"
#define ABC    "{\"text\":\"abc\"}" /* 14 bytes */

static const Case cases[] = {
    /* ---- fine ---- */
    {"plain", GET_OK, "200", false, "{\"hello\":\"world\"}", NULL},
    {"two in a row", GET_OK GET_OK, "200 200", false, NULL, NULL},
    {"blank line before", "\r\n" GET_OK, "200", false, NULL, NULL},
    {"close asked for", "GET /api:raw/hello HTTP/1.1\r\n" H "Connection: close\r\n\r\n", "200",
     true, "Connection: close", NULL},
    {"1.0", "GET /api:raw/hello HTTP/1.0\r\n\r\n", "200", true, NULL, NULL},
    {"1.0 kept alive", "GET /api:raw/hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "200",
     false, "Connection: Keep-Alive", NULL},
    {"absolute target", "GET http://h/api:raw/hello HTTP/1.1\r\n" H "\r\n", "200", false, NULL,
     NULL},
    {"absolute target without a path", "GET http://h?/api:raw/hello HTTP/1.1\r\n" H "\r\n", "400",
     true, "\r\nDate: ", "world"},
    {"absolute target without a host", "GET http:///api:raw/hello HTTP/1.1\r\n" H "\r\n", "400",
     true, NULL, "world"},
    {"HEAD has no body", "HEAD /api:raw/hello HTTP/1.1\r\n" H "\r\n", "200", false,
     "Content-Length: 17", "world"},
    {"slow head", "GET /api:raw/hel~lo HTTP/1.1\r\nHo~st: h\r~\n\r\n", "200", false, NULL, NULL},
    {"slow body", POST "Content-Length: 14\r\n\r\n{\"text\"~:\"abc\"}", "200", false, "abc", NULL},
    {"chunked",
     POST "Transfer-Encoding: chunked\r\n\r\n7\r\n{\"text\"\r\n7\r\n:\"abc\"}\r\n0\r\n\r\n", "200",
     false, "abc", NULL},
    {"chunked in pieces",
     POST "Transfer-Encoding: chunked\r\n\r\n0~7;a=b\r\n{\"te~xt\"\r~\n07\r\n:\"abc\"}\r\n0\r\nX: "
          "y\r\n~\r\n" GET_OK,
     "200 200", false, "abc", NULL},
    {"coding in capitals", POST "Transfer-Encoding: Chunked\r\n\r\ne\r\n" ABC "\r\n0\r\n\r\n",
     "200", false, "abc", NULL},
    {"expectation", POST "Expect: 100-continue\r\nContent-Length: 14\r\n\r\n~" ABC, "100 200",
     false, NULL, NULL},
    {"body before the next request", POST "Content-Length: 14\r\n\r\n" ABC GET_OK, "200 200", false,
     NULL, NULL},
    {"no body where one is needed", POST "\r\n", "400", false, "Missing param", NULL},
    {"options", "OPTIONS /api:raw/hello HTTP/1.1\r\n" H "\r\n", "204", false, NULL,
     "Content-Length"},
    {"options of everything", "OPTIONS * HTTP/1.1\r\n" H "\r\n", "404", false, NULL, NULL},
    {"old WebSocket version",
     "GET /rt/raw HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n"
     "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n",
     "400", false, "\r\nSec-WebSocket-Version: 13\r\n", NULL},
    {"empty header value", "GET /api:raw/hello HTTP/1.1\r\n" H "X-A:\r\n\r\n", "200", false, NULL,
     NULL},

    /* ---- answers ---- */
    {"compressed", "GET /api:raw/large HTTP/1.1\r\n" H "Accept-Encoding: br, gzip\r\n\r\n", "200",
     false, "Content-Encoding: gzip", "cdef0123"},
    {"not compressed", "GET /api:raw/large HTTP/1.1\r\n" H "Accept-Encoding: gzip;q=0\r\n\r\n",
     "200", false, "Content-Length: 16384", "gzip"},
    {"too small to compress", "GET /api:raw/hello HTTP/1.1\r\n" H "Accept-Encoding: gzip\r\n\r\n",
     "200", false, "world", "gzip"},
    {"own request id", "GET /api:raw/hello HTTP/1.1\r\n" H "X-Request-Id: abc-1\r\n\r\n", "200",
     false, "X-Request-Id: abc-1\r\n", NULL},
    {"new request id", GET_OK, "200", false, "X-Request-Id: ", NULL},
    {"no origin", GET_OK, "200", false, "Vary: Origin\r\n", "Access-Control-Allow-Origin"},
    {"another origin", "GET /api:raw/hello HTTP/1.1\r\n" H "Origin: https://a.test\r\n\r\n", "200",
     false, "Access-Control-Allow-Origin: https://a.test", NULL},
    {"preflight",
     "OPTIONS /api:raw/echo HTTP/1.1\r\n" H "Origin: https://a.test\r\n"
     "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x-a\r\n\r\n",
     "204", false, "Access-Control-Allow-Headers: x-a", NULL},
    {"rows", "GET /api:raw/rows HTTP/1.1\r\n" H "\r\n" GET_OK, "200 200", false,
     "{\"id\":1,\"name\":\"a,b\"}\n{\"id\":2,", "never"},
    {"lines of the body",
     "POST /api:raw/lines?format=jsonl HTTP/1.1\r\n" H
     "Content-Type: application/x-ndjson\r\nContent-Length: 12\r\n\r\n{\"n\":1}\n[2]\n",
     "200", false, "[{\"n\":1},[2]]", NULL},
    {"the bytes of a body",
     "POST /api:raw/body?exact=1 HTTP/1.1\r\n" H
     "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{ \"a\": 1}",
     "200", false, "{\"body\":\"{ \\\"a\\\": 1}\"}", NULL},
    {"a body that is no JSON",
     "POST /api:raw/body HTTP/1.1\r\n" H "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi",
     "400", false, "ERROR_CODE_INPUT_ERROR", NULL},
    {"a stream that was read already",
     "POST /api:raw/twice HTTP/1.1\r\n" H
     "Content-Type: application/x-ndjson\r\nContent-Length: 4\r\n\r\n1\n2\n",
     "500", false, "Stream already consumed.", NULL},
    {"a line that is no JSON",
     "POST /api:raw/lines?format=jsonl HTTP/1.1\r\n" H
     "Content-Type: application/x-ndjson\r\nContent-Length: 4\r\n\r\n1\n{\n",
     "500", false, "Error parsing JSON in line 2", NULL},
    {"lines of a JSON body",
     "POST /api:raw/lines HTTP/1.1\r\n" H
     "Content-Type: application/json\r\nContent-Length: 5\r\n\r\n[1,2]",
     "200", false, "[1,2]", NULL},
    {"rows of a stream", "GET /api:raw/many HTTP/1.1\r\n" H "\r\n" GET_OK, "200 200", false,
     "{\"id\":10000}\n", NULL},
    {"rows of a stream as csv", "GET /api:raw/many?format=csv HTTP/1.1\r\n" H "\r\n", "200", false,
     "9999\r\n10000\r\n", "\r\nid\r\n1\r\nid"},
    {"rows end", "GET /api:raw/rows HTTP/1.1\r\n" H "\r\n", "200", false, "\r\n0\r\n\r\n", NULL},
    {"rows of 1.0", "GET /api:raw/rows HTTP/1.0\r\n\r\n", "200", true, "\r\n\r\n{\"id\":1,",
     "chunked"},
    {"head of rows", "HEAD /api:raw/rows HTTP/1.1\r\n" H "\r\n" GET_OK, "200 200", false,
     "application/x-ndjson", "\"id\""},
    {"rows as csv", "GET /api:raw/rows?format=csv&name=a%22b.csv HTTP/1.1\r\n" H "\r\n", "200",
     false, "id,name\r\n1,\"a,b\"\r\n2,\"two\nlines\"\r\n", NULL},
    {"csv file name", "GET /api:raw/rows?format=csv&name=a%22b.csv HTTP/1.1\r\n" H "\r\n", "200",
     false, "Content-Disposition: attachment; filename=\"a_b.csv\"", NULL},
    {"rows as events", "GET /api:raw/rows?format=sse HTTP/1.1\r\n" H "\r\n", "200", false,
     "data: {\"id\":1,\"name\":\"a,b\"}\n\n", NULL},
    {"rows of no format", "GET /api:raw/rows?format=xml HTTP/1.1\r\n" H "\r\n", "500", false,
     "format", NULL},
    {"rows cut short", "GET /api:raw/rows?name=fails HTTP/1.1\r\n" H "\r\n", "200", true,
     "\"id\":3", "\r\n0\r\n\r\n"},

    /* ---- request lines ---- */
    {"no version", "GET /api:raw/hello\r\n\r\n", "400", true, NULL, NULL},
    {"words", "nonsense\r\n\r\n", "400", true, NULL, NULL},
    {"four words", "GET /api:raw/hello x HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"two blanks", "GET  /api:raw/hello HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"tab for a blank", "GET\t/api:raw/hello HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"blank in front", " GET /api:raw/hello HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"lower-case version", "GET /api:raw/hello http/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"HTTP/2", "GET /api:raw/hello HTTP/2.0\r\n" H "\r\n", "505", true, NULL, NULL},
    {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505", true, NULL, NULL},
    {"HTTP/1.2", "GET /api:raw/hello HTTP/1.2\r\n" H "\r\n", "505", true, NULL, NULL},
    {"HTTP/1.10", "GET /api:raw/hello HTTP/1.10\r\n" H "\r\n", "400", true, NULL, NULL},
    {"unknown method", "BREW /api:raw/hello HTTP/1.1\r\n" H "\r\n", "501", true, NULL, NULL},
    {"lower-case method", "get /api:raw/hello HTTP/1.1\r\n" H "\r\n", "501", true, NULL, NULL},
    {"TRACE", "TRACE /api:raw/hello HTTP/1.1\r\n" H "\r\n", "405", true, "Allow: GET", NULL},
    {"CONNECT", "CONNECT h:443 HTTP/1.1\r\n" H "\r\n", "405", true, NULL, NULL},
    {"method of wrong characters", "G(T /api:raw/hello HTTP/1.1\r\n" H "\r\n", "400", true, NULL,
     NULL},
    {"relative target", "GET api:raw/hello HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"fragment", "GET /api:raw/hello#x HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"other scheme", "GET gopher://h/x HTTP/1.1\r\n" H "\r\n", "400", true, NULL, NULL},
    {"control byte in the target", "GET /api:raw/\x01hello HTTP/1.1\r\n" H "\r\n", "400", true,
     NULL, NULL},
    {"TLS handshake", "\x16\x03\x01\x02", "", true, NULL, NULL},
    {"bare carriage return", "GET /api:raw/hello HTTP/1.1\rX: y\r\n" H "\r\n", "400", true, NULL,
     NULL},
    {"bare line feed in the request line", "GET /api:raw/hello HTTP/1.1\n" H "\r\n", "400", true,
     NULL, NULL},
    {"bare line feeds", "GET /api:raw/hello HTTP/1.1\nHost: h\n\n", "400", true, NULL, NULL},

    /* ---- header lines ---- */
    {"no Host", "GET /api:raw/hello HTTP/1.1\r\n\r\n", "400", true, "Host", NULL},
    {"two Hosts", "GET /api:raw/hello HTTP/1.1\r\n" H H "\r\n", "400", true, NULL, NULL},
    {"Host with a path", "GET /api:raw/hello HTTP/1.1\r\nHost: h/x\r\n\r\n", "400", true, NULL,
     NULL},
    {"Host list", "GET /api:raw/hello HTTP/1.1\r\nHost: a, b\r\n\r\n", "400", true, NULL, NULL},
    {"blank before the colon", "GET /api:raw/hello HTTP/1.1\r\nHost : h\r\n\r\n", "400", true, NULL,
     NULL},
    {"no colon", "GET /api:raw/hello HTTP/1.1\r\n" H "Nonsense\r\n\r\n", "400", true, NULL, NULL},
    {"no name", "GET /api:raw/hello HTTP/1.1\r\n" H ": x\r\n\r\n", "400", true, NULL, NULL},
    {"folded line", "GET /api:raw/hello HTTP/1.1\r\n" H "X-A: b\r\n c\r\n\r\n", "400", true, NULL,
     NULL},
    {"folded with a tab", "GET /api:raw/hello HTTP/1.1\r\n" H "X-A: b\r\n\tc\r\n\r\n", "400", true,
     NULL, NULL},
    {"fold before the first header", "GET /api:raw/hello HTTP/1.1\r\n X: y\r\n" H "\r\n", "400",
     true, NULL, NULL},
    {"bare line feed between headers", "GET /api:raw/hello HTTP/1.1\r\n" H "A: b\nC: d\r\n\r\n",
     "400", true, NULL, NULL},
    {"carriage return in a value", "GET /api:raw/hello HTTP/1.1\r\n" H "A: b\rC: d\r\n\r\n", "400",
     true, NULL, NULL},
    {"control byte in a value", "GET /api:raw/hello HTTP/1.1\r\n" H "A: \x08\r\n\r\n", "400", true,
     NULL, NULL},
    {"delete in a value", "GET /api:raw/hello HTTP/1.1\r\n" H "A: \x7f\r\n\r\n", "400", true, NULL,
     NULL},
    {"quote in a name", "GET /api:raw/hello HTTP/1.1\r\n" H "A\"b: c\r\n\r\n", "400", true, NULL,
     NULL},
    {"high byte in a name", "GET /api:raw/hello HTTP/1.1\r\n" H "A\xe4: c\r\n\r\n", "400", true,
     NULL, NULL},
    {"unknown expectation", POST "Expect: wonders\r\nContent-Length: 14\r\n\r\n" ABC, "417", true,
     NULL, NULL},

    /* ---- lengths and codings: what smuggling is made of ---- */
    {"length and coding",
     POST "Content-Length: 14\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET_OK, "400", true,
     NULL, "world"},
    {"coding and length",
     POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" GET_OK, "400", true,
     NULL, "world"},
    {"two lengths", POST "Content-Length: 14\r\nContent-Length: 15\r\n\r\n" ABC GET_OK, "400", true,
     NULL, "world"},
    {"the same length twice", POST "Content-Length: 14\r\nContent-Length: 14\r\n\r\n" ABC GET_OK,
     "400", true, NULL, "world"},
    {"list of lengths", POST "Content-Length: 14, 14\r\n\r\n" ABC GET_OK, "400", true, NULL,
     "world"},
    {"negative length", POST "Content-Length: -1\r\n\r\n" GET_OK, "400", true, NULL, "world"},
    {"signed length", POST "Content-Length: +14\r\n\r\n" ABC GET_OK, "400", true, NULL, "world"},
    {"hexadecimal length", POST "Content-Length: 0xe\r\n\r\n" ABC GET_OK, "400", true, NULL,
     "world"},
    {"length of words", POST "Content-Length: 1 4\r\n\r\n" ABC GET_OK, "400", true, NULL, "world"},
    {"empty length", POST "Content-Length:\r\n\r\n" ABC GET_OK, "400", true, NULL, "world"},
    {"length past all numbers", POST "Content-Length: 99999999999999999999999\r\n\r\n", "413", true,
     NULL, NULL},
    {"length before a blank", POST "Content-Length : 14\r\n\r\n" ABC GET_OK, "400", true, NULL,
     "world"},
    {"two codings",
     POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET_OK, "400",
     true, NULL, "world"},
    {"coding list", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" GET_OK, "501", true,
     NULL, "world"},
    {"identity", POST "Transfer-Encoding: identity\r\nContent-Length: 14\r\n\r\n" ABC GET_OK, "501",
     true, NULL, "world"},
    {"coding of a stranger", POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" GET_OK, "501",
     true, NULL, "world"},
    {"coding with a control byte",
     POST "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n0\r\n\r\n" GET_OK,
     "400", true, NULL, "world"},
    {"folded coding", POST "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" GET_OK, "400", true,
     NULL, "world"},
    {"coding before a colon and a blank",
     POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" GET_OK, "400", true, NULL, "world"},
    {"coding of 1.0",
     "POST /api:raw/echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" GET_OK, "400",
     true, NULL, "world"},
    {"chunk size of words", POST "Transfer-Encoding: chunked\r\n\r\nxyz\r\n", "400", true, NULL,
     NULL},
    {"chunk size with a sign", POST "Transfer-Encoding: chunked\r\n\r\n-1\r\n", "400", true, NULL,
     NULL},
    {"chunk size with 0x",
     POST "Transfer-Encoding: chunked\r\n\r\n0xe\r\n" ABC "\r\n0\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"chunk size with a blank",
     POST "Transfer-Encoding: chunked\r\n\r\ne \r\n" ABC "\r\n0\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"empty chunk size", POST "Transfer-Encoding: chunked\r\n\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"huge chunk size", POST "Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", "413",
     true, NULL, NULL},
    {"chunk size past the limit", POST "Transfer-Encoding: chunked\r\n\r\n7fffffff\r\n", "413",
     true, NULL, NULL},
    {"chunk longer than its size",
     POST "Transfer-Encoding: chunked\r\n\r\n3\r\n" ABC "\r\n0\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"bare line feed behind a size",
     POST "Transfer-Encoding: chunked\r\n\r\ne\n" ABC "\r\n0\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"bare line feed behind a chunk",
     POST "Transfer-Encoding: chunked\r\n\r\ne\r\n" ABC "\n0\r\n\r\n" GET_OK, "400", true, NULL,
     "world"},
    {"trailer of nonsense",
     POST "Transfer-Encoding: chunked\r\n\r\ne\r\n" ABC "\r\n0\r\nnonsense\r\n\r\n" GET_OK, "400",
     true, NULL, "world"},
    {"control byte in an extension",
     POST "Transfer-Encoding: chunked\r\n\r\ne;\x01\r\n" ABC "\r\n0\r\n\r\n" GET_OK, "400", true,
     NULL, "world"},
    {"GET with a hidden request",
     "GET /api:raw/hello HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabc" GET_OK, "200 200", false,
     NULL, NULL},

    /* ---- content ---- */
    {"secret", POST "Content-Length: 42\r\n\r\n{\"text\":\"abc\",\"password\":\"hush-hush-hush\"}",
     "200", false, NULL, NULL},
    {"token", "POST /api:raw/login HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "200", false,
     "authToken", NULL},
    {"malformed JSON", POST "Content-Length: 3\r\n\r\n{\"a", "400", false, "ERROR_CODE_BAD_REQUEST",
     NULL},
    {"compressed body", POST "Content-Encoding: gzip\r\nContent-Length: 14\r\n\r\n" ABC, "415",
     false, NULL, NULL},
    {"headers cannot be injected",
     POST "Content-Length: 0\r\n\r\n"
          "POST /api:raw/header HTTP/1.1\r\n" H
          "Content-Type: application/json\r\nContent-Length: 28\r\n\r\n"
          "{\"value\":\"a\\r\\nX-Evil: yes\"}",
     "400 500", false, NULL, "X-Evil"},
    {"a header is set",
     "POST /api:raw/header HTTP/1.1\r\n" H
     "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"value\":\"a\"}",
     "200", false, "X-Echo: a", NULL},

    /* ---- a proxy in front ---- */
    {"nobody behind it", "GET /api:raw/address HTTP/1.1\r\n" H "\r\n", "200", false,
     "\"127.0.0.1\"", NULL},
    {"a client behind it, and another one",
     "GET /api:raw/address HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.7\r\n\r\n"
     "GET /api:raw/hello HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.8\r\n\r\n",
     "200 200", false, "\"203.0.113.7\"", NULL},
    {"what a client says of itself",
     "GET /api:raw/address HTTP/1.1\r\n" H
     "X-Forwarded-For: 198.51.100.1\r\nX-Forwarded-For: 203.0.113.7\r\n\r\n",
     "200", false, "\"203.0.113.7\"", NULL},

    {"polls of a client behind it",
     "GET /rt/raw/lp?channel=a&timeout=0 HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.7\r\n\r\n"
     "~GET /rt/raw/lp?channel=b&timeout=0 HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.7\r\n\r\n"
     "~GET /rt/raw/lp?channel=c&timeout=0 HTTP/1.1\r\n" H "X-Forwarded-For: 203.0.113.7\r\n\r\n",
     "200 200 200", false, NULL, NULL},

    /* ---- files ---- */
    {"file", "GET /deep/file.txt HTTP/1.1\r\n" H "\r\n", "200", false, "deep", NULL},
    {"folder", "GET / HTTP/1.1\r\n" H "\r\n", "200", false, "<p>page</p>", NULL},
    {"folder without its slash", "GET /deeper?q HTTP/1.1\r\n" H "\r\n", "301", false,
     "Location: /deeper/\r\n", "inner"},
    {"another site is no folder", "GET //deeper HTTP/1.1\r\n" H "\r\n", "301", false,
     "Location: /deeper/\r\n", NULL},
    {"folder without a page", "GET /deep HTTP/1.1\r\n" H "\r\n", "404", false, NULL, "deep\n"},
    {"file, any version known",
     "GET /deep/file.txt HTTP/1.1\r\n" H "If-None-Match: *\r\n\r\n" GET_OK, "304 200", false,
     "ETag: \"", "deep\n"},
    {"file, another version known",
     "GET /deep/file.txt HTTP/1.1\r\n" H "If-None-Match: \"a\", W/\"b\"\r\n\r\n", "200", false,
     "deep\n", NULL},
    {"the tag counts, not the date",
     "GET /deep/file.txt HTTP/1.1\r\n" H "If-None-Match: \"a\"\r\nIf-Modified-Since: Sat, 01 Jan "
     "2050 00:00:00 GMT\r\n\r\n",
     "200", false, "deep\n", NULL},
    {"part", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=1-2\r\n\r\n" GET_OK, "206 200",
     false, "Content-Range: bytes 1-2/5\r\n", "deep"},
    {"part up to the end", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=3-\r\n\r\n", "206",
     false, "Content-Range: bytes 3-4/5\r\n", "deep"},
    {"part beyond the end", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=3-99\r\n\r\n", "206",
     false, "Content-Length: 2\r\n", "deep"},
    {"last part", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=-2\r\n\r\n", "206", false,
     "Content-Range: bytes 3-4/5\r\n", "deep"},
    {"more than there is", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=-99\r\n\r\n", "206",
     false, "Content-Range: bytes 0-4/5\r\n", NULL},
    {"nothing of it", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=5-\r\n\r\n", "416", false,
     "Content-Range: bytes */5\r\n", "deep"},
    {"the last nothing", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=-0\r\n\r\n", "416",
     false, "Content-Range: bytes */5\r\n", "deep"},
    {"several parts", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=0-0,2-2\r\n\r\n", "200",
     false, "deep\n", NULL},
    {"parts that are none", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=2-1\r\n\r\n", "200",
     false, "deep\n", NULL},
    {"another unit", "GET /deep/file.txt HTTP/1.1\r\n" H "Range: lines=0-1\r\n\r\n", "200", false,
     "deep\n", NULL},
    {"part of another version",
     "GET /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=1-2\r\nIf-Range: \"a\"\r\n\r\n", "200",
     false, "deep\n", NULL},
    {"head has no parts", "HEAD /deep/file.txt HTTP/1.1\r\n" H "Range: bytes=1-2\r\n\r\n", "200",
     false, "Content-Length: 5\r\n", "deep\n"},
    {"upward", "GET /../outside.txt HTTP/1.1\r\n" H "\r\n", "404", false, NULL, "secret"},
    {"upward from below", "GET /deep/../../../outside.txt HTTP/1.1\r\n" H "\r\n", "404", false,
     NULL, "secret"},
    {"upward, escaped", "GET /%2e%2e/%2e%2e/outside.txt HTTP/1.1\r\n" H "\r\n", "404", false, NULL,
     "secret"},
    {"upward, slash escaped", "GET /..%2f..%2foutside.txt HTTP/1.1\r\n" H "\r\n", "404", false,
     NULL, "secret"},
    {"upward, escaped twice", "GET /%252e%252e/outside.txt HTTP/1.1\r\n" H "\r\n", "404", false,
     NULL, "secret"},
    {"upward, backslashes", "GET /..\\..\\outside.txt HTTP/1.1\r\n" H "\r\n", "404", false, NULL,
     "secret"},
    {"upward, overlong", "GET /%c0%ae%c0%ae/outside.txt HTTP/1.1\r\n" H "\r\n", "404", false, NULL,
     "secret"},
    {"NUL in a path", "GET /index.html%00.png HTTP/1.1\r\n" H "\r\n", "404", false, NULL, "page"},
    {"absolute path", "GET //etc/passwd HTTP/1.1\r\n" H "\r\n", "404", false, NULL, "root:"},
    {"the program itself", "GET /hello.xs HTTP/1.1\r\n" H "\r\n", "404", false, NULL, "query"},
    {"POST to a file", "POST /index.html HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", "404", false,
     NULL, "page"},

    /* ---- tokens: none of these was made here ---- */
    {"no token", "GET /api:raw/me HTTP/1.1\r\n" H "\r\n", "401", false, "Authentication Required",
     NULL},
    {"not a token", "GET /api:raw/me HTTP/1.1\r\n" H "Authorization: Bearer x\r\n\r\n", "401",
     false, NULL, NULL},
    {"basic", "GET /api:raw/me HTTP/1.1\r\n" H "Authorization: Basic YTpi\r\n\r\n", "401", false,
     NULL, NULL},
    {"empty token", "GET /api:raw/me HTTP/1.1\r\n" H "Authorization: Bearer \r\n\r\n", "401", false,
     NULL, NULL},
    /* {"alg":"none"} {"t":"user","i":7} and variants */
    {"algorithm none",
     "GET /api:raw/me HTTP/1.1\r\n" H
     "Authorization: Bearer eyJhbGciOiJub25lIn0.eyJ0IjoidXNlciIsImkiOjd9.\r\n\r\n",
     "401", false, NULL, NULL},
    {"algorithm nOnE",
     "GET /api:raw/me HTTP/1.1\r\n" H
     "Authorization: Bearer eyJhbGciOiJuT25FIn0.eyJ0IjoidXNlciIsImkiOjd9.\r\n\r\n",
     "401", false, NULL, NULL},
    {"direct encryption without content",
     "GET /api:raw/me HTTP/1.1\r\n" H
     "Authorization: Bearer eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0....\r\n\r\n",
     "401", false, NULL, NULL},
};

/* ---- talking ---- */

typedef struct Answer {
    char bytes[ANSWER_MAX];
    size_t len;
    bool closed;
} Answer;

static void send_script(int fd, const char *s)
{
    while (*s) {
        size_t n = strcspn(s, "~");
        if (n && !send_all(fd, s, n))
            return; /* refused before the end */
        s += n;
        if (*s == '~') {
            poll(NULL, 0, PAUSE_MS);
            s++;
        }
    }
}

/* Until the server closes, or is quiet for a while after `want` answers. */
static void receive(int fd, Answer *a, size_t want)
{
    int64_t deadline = clock_mono_ms() + CASE_MS;
    for (;;) {
        size_t seen = 0;
        for (const char *p = a->bytes; (p = strstr(p, "HTTP/1.1 ")); p += 9)
            seen++;
        int64_t left = deadline - clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (left <= 0 || poll(&p, 1, seen >= want && left > QUIET_MS ? QUIET_MS : (int)left) <= 0)
            return;
        ssize_t n = recv(fd, a->bytes + a->len, sizeof a->bytes - 1 - a->len, 0);
        if (n <= 0) {
            a->closed = true;
            return;
        }
        a->len += (size_t)n;
        a->bytes[a->len] = '\0';
    }
}

static size_t words(const char *list)
{
    size_t n = 0;
    for (const char *p = list; *p; p++)
        n += *p != ' ' && (p == list || p[-1] == ' ');
    return n;
}

static void read_statuses(const Answer *a, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (const char *p = a->bytes; (p = strstr(p, "HTTP/1.1 ")); p += 9)
        len += (size_t)snprintf(out + len, size - len, "%s%.3s", len ? " " : "", p + 9);
}

static bool neighbour_served(int fd)
{
    static Answer a;
    a = (Answer){.len = 0};
    send_script(fd, GET_OK);
    receive(fd, &a, 1);
    return strncmp(a.bytes, "HTTP/1.1 200", 12) == 0;
}

static unsigned failures;

static void report(const char *name, const char *what, const char *got)
{
    failures++;
    fprintf(stderr, "%s: %s\n%.600s\n", name, what, got);
}

static void run_case(int port, const Case *c)
{
    static Answer a;
    a = (Answer){.len = 0};
    char statuses[128];
    int fd = http_connect(port);
    if (fd < 0) {
        report(c->name, "cannot connect", "");
        return;
    }
    send_script(fd, c->send);
    receive(fd, &a, words(c->statuses) + c->closes);
    close(fd);
    read_statuses(&a, statuses, sizeof statuses);
    if (*c->statuses && strcmp(statuses, c->statuses) != 0)
        report(c->name, "other statuses", a.bytes);
    else if (a.closed != c->closes)
        report(c->name, c->closes ? "not closed" : "closed", a.bytes);
    else if ((c->contains && !strstr(a.bytes, c->contains)) ||
             (c->lacks && strstr(a.bytes, c->lacks)))
        report(c->name, "other content", a.bytes);
}

/* A head or body that needs filling. */
static void run_long(int port, const char *name, const char *before, size_t fill, char with,
                     const char *after, const char *status)
{
    size_t a = strlen(before), b = strlen(after);
    char *text = (char *)malloc(a + fill + b + 1);
    memcpy(text, before, a);
    memset(text + a, with, fill);
    memcpy(text + a + fill, after, b + 1);
    run_case(port, &(Case){name, text, status, true, NULL, NULL});
    free(text);
}

static void run_many_headers(int port)
{
    char text[8192] = "GET /api:raw/hello HTTP/1.1\r\n" H;
    for (int i = 0; i < 120; i++)
        snprintf(text + strlen(text), sizeof text - strlen(text), "X-%d: y\r\n", i);
    strcat(text, "\r\n");
    run_case(port, &(Case){"many headers", text, "431", true, NULL, NULL});
}

static void run_nul(int port)
{
    static const char head[] = "GET /api:raw/hello HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n";
    static Answer a;
    a = (Answer){.len = 0};
    int fd = http_connect(port);
    if (fd < 0 || !send_all(fd, head, sizeof head - 1))
        report("NUL in a header", "cannot send", "");
    receive(fd, &a, 2);
    close(fd);
    if (strncmp(a.bytes, "HTTP/1.1 400", 12) != 0 || !a.closed)
        report("NUL in a header", "not refused", a.bytes);
}

/* The sockets of one client behind a proxy count together, and another's do not. */
static void run_crowd(int port)
{
    static const char upgrade[] =
        "GET /rt/raw HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "X-Forwarded-For: 203.0.113.%d\r\n\r\n";
    static const char *const full = "Too many connections from this address.";
    int fds[PER_CLIENT + 2];
    for (int i = 0; i < PER_CLIENT + 2; i++) {
        static Answer a;
        char head[sizeof upgrade + 8];
        bool fits = i != PER_CLIENT;
        snprintf(head, sizeof head, upgrade, i <= PER_CLIENT ? 9 : 10);
        a = (Answer){.len = 0};
        fds[i] = http_connect(port);
        send_script(fds[i], head);
        receive(fds[i], &a, 1);
        if (!strstr(a.bytes, " 101 ") ||
            fits == (memmem(a.bytes, a.len, full, strlen(full)) != NULL))
            report("a crowd behind a proxy", fits ? "refused" : "let in", a.bytes);
    }
    for (int i = 0; i < PER_CLIENT + 2; i++)
        close(fds[i]);
}

/* Clients that send a little and then nothing: told so, and closed. */
static void run_slow(int port)
{
    static const struct {
        const char *name, *send, *status;
    } slow[] = {
        {"slow head", "GET /api:raw/hello HTTP/1.1\r\nHos", "408"},
        {"slow second head", GET_OK "GET /api", "200 408"},
        {"slow body", POST "Content-Length: 14\r\n\r\n{\"te", "408"},
        {"slow chunks", POST "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"", "408"},
        {"silence", "", ""},
    };
    int fds[sizeof slow / sizeof *slow];
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        fds[i] = http_connect(port);
        send_script(fds[i], slow[i].send);
    }
    for (size_t i = 0; i < sizeof slow / sizeof *slow; i++) {
        static Answer a;
        a = (Answer){.len = 0};
        char statuses[128];
        receive(fds[i], &a, words(slow[i].status) + 1);
        close(fds[i]);
        read_statuses(&a, statuses, sizeof statuses);
        if (strcmp(statuses, slow[i].status) != 0 || !a.closed)
            report(slow[i].name, "not ended", a.bytes);
    }
}

/* A client that does not read does not make the server keep all it will get. */
static void run_flood(int port)
{
    enum { FLOOD_BYTES = 4 << 20 };
    static char bytes[64 << 10];
    int fd = http_connect(port);
    size_t total = 0;
    send_script(fd, "GET /api:raw/flood HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
    poll(NULL, 0, 200);
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        total += (size_t)n;
    close(fd);
    if (total < FLOOD_BYTES || total > FLOOD_BYTES + (64 << 10))
        report("flood", "other size", "");
    /* And one that leaves in the middle. */
    fd = http_connect(port);
    send_script(fd, "GET /api:raw/flood HTTP/1.1\r\n" H "\r\n");
    if (recv(fd, bytes, 1000, 0) <= 0)
        report("flood", "nothing came", "");
    close(fd);
}

/* Many that drip their heads: others are served meanwhile. */
static void run_slowloris(int port, int neighbour)
{
    enum { CLIENTS = 200, DRIPS = 5 };
    int fds[CLIENTS];
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = http_connect(port);
        if (fds[i] >= 0)
            send_script(fds[i], "GET /api:raw/hello HTTP/1.1\r\n");
    }
    for (int d = 0; d < DRIPS; d++) {
        for (int i = 0; i < CLIENTS; i++)
            if (fds[i] >= 0 && send(fds[i], "X", 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
                continue; /* ended already */
        if (!neighbour_served(neighbour))
            report("slowloris", "the neighbour waits", "");
    }
    for (int i = 0; i < CLIENTS; i++)
        if (fds[i] >= 0)
            close(fds[i]);
}

/* The history of the server that has ended: requests are in it, secrets are not. */
static void check_history(const char *file)
{
    static char bytes[8 << 20];
    FILE *f = fopen(file, "r");
    size_t n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    unlink(file);
    if (!memmem(bytes, n, "/api:raw/login", 14) || !memmem(bytes, n, "/api:raw/echo", 13))
        report("history", "requests are missing", "");
    static const char stmt[] =
        "\"stmt\":\"api.stream\",\"in\":\"query raw/rows GET\",\"line\":15,\"ms\":",
                      beyond[] = "\"stmt\":\"api.stream\",\"in\":\"query raw/many GET\"",
                      failed[] = "\"error\":\"Invalid value for param: format\"}]";
    if (!memmem(bytes, n, stmt, sizeof stmt - 1) || !memmem(bytes, n, failed, sizeof failed - 1))
        report("history", "statements are missing", "");
    if (memmem(bytes, n, beyond, sizeof beyond - 1))
        report("history", "more statements than asked for", "");
    if (memmem(bytes, n, "hush-hush", 9) || memmem(bytes, n, "authToken", 9))
        report("history", "it keeps secrets", "");
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: requests XS APP\n");
        return 2;
    }
    char public_dir[512], history[64], history_option[96];
    snprintf(history, sizeof history, "/tmp/xs_requests_%d.history", (int)getpid());
    snprintf(history_option, sizeof history_option, "--history=%s", history);
    snprintf(public_dir, sizeof public_dir, "--public=%s/public", argv[2]);
    const char *args[] = {argv[1],
                          "serve",
                          "--listen=127.0.0.1:0",
                          "--db=:memory:",
                          "--log-level=warning",
                          "--head-timeout-ms=1200",
                          "--body-timeout-ms=1200",
                          "--idle-timeout-ms=60000",
                          "--max-body=64k",
                          "--proxies=127.0.0.1",
                          "--realtime-conn-per-ip=4",
                          history_option,
                          "--history-per-s=100000",
                          public_dir,
                          argv[2],
                          NULL};
    char *list[sizeof args / sizeof *args]; /* execv's type lacks a const */
    memcpy(list, args, sizeof list);
    Server s;
    if (!server_start(&s, list)) {
        fprintf(stderr, "the server does not start\n");
        return 1;
    }
    int neighbour = http_connect(s.port);
    if (!neighbour_served(neighbour))
        report("neighbour", "not served at the start", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        run_case(s.port, &cases[i]);
    run_long(s.port, "long target", "GET /", 9000, 'x', " HTTP/1.1\r\n" H "\r\n", "414");
    run_long(s.port, "endless target", "GET /", 20000, 'x', "", "414");
    run_long(s.port, "long header", "GET /api:raw/hello HTTP/1.1\r\n" H "A: ", 20000, 'x',
             "\r\n\r\n", "431");
    run_long(s.port, "header that fits", "GET /api:raw/hello HTTP/1.1\r\n" H "A: ", 8000, 'x',
             "\r\nConnection: close\r\n\r\n", "200");
    run_long(s.port, "long body", POST "Content-Length: 70000\r\n\r\n", 70000, 'x', "", "413");
    run_long(s.port, "long chunk", POST "Transfer-Encoding: chunked\r\n\r\n11170\r\n", 70000, 'x',
             "\r\n0\r\n\r\n", "413");
    run_many_headers(s.port);
    run_nul(s.port);
    run_crowd(s.port);
    if (!neighbour_served(neighbour))
        report("neighbour", "not served", "");
    run_flood(s.port);
    run_slowloris(s.port, neighbour);
    run_slow(s.port);
    close(neighbour);
    int code = server_stop(&s, SIGTERM, 10000);
    if (code != 0) {
        fprintf(stderr, "the server ended with %d\n", code);
        failures++;
    }
    check_history(history);
    printf("%zu requests, %u failures\n", sizeof cases / sizeof *cases + 15, failures);
    return failures ? 1 : 0;
}
