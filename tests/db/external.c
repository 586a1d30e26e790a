/* external.c - db.external.postgres.direct_query against a real server: values both ways, errors,
 * many at a time, statements that take too long, a server that ends, and what may never be told.
 * usage: external XS APP */
#include <pthread.h>

#include "tests/common/postgres.h"

enum { SKIPPED = 77, CROWD = 24, SLOW_MS = 4000, BODY_MAX = 8192 };

static Server server;
static TestPostgres postgres;
static char good[256];
static int failures;

/* The request to the query; its answer is malloc'ed. */
static int ask(const char *path, const char *connection, const char *rest, char **reply)
{
    char body[BODY_MAX], whole[64];
    snprintf(body, sizeof body, "{\"connection\":\"%s\",%s}", connection, rest);
    snprintf(whole, sizeof whole, "/api:pg/%s", path);
    return http_request(server.port, "POST", whole, NULL, body, reply);
}

static void expect_of(const char *connection, const char *rest, int status, const char *answer)
{
    char *reply;
    int got = ask("sql", connection, rest, &reply);
    if (got != status || !reply || strcmp(reply, answer) != 0) {
        fprintf(stderr, "%s\n    expected %d %s\n    found    %d %s\n", rest, status, answer, got,
                reply ? reply : "nothing");
        failures++;
    }
    free(reply);
}

static void expect(const char *rest, const char *answer)
{
    expect_of(good, rest, 200, answer);
}

/* The answer of a failure holds this, and never the password. */
static void refused(const char *connection, const char *rest, const char *part)
{
    char *reply;
    int got = ask("sql", connection, rest, &reply);
    if (got != 500 || !reply || !strstr(reply, part) || strstr(reply, "s3cret") ||
        strstr(reply, "w@rd")) {
        fprintf(stderr, "%s\n    expected 500 with %s\n    found    %d %s\n", rest, part, got,
                reply ? reply : "nothing");
        failures++;
    }
    free(reply);
}

static void fails(const char *rest, const char *part)
{
    refused(good, rest, part);
}

/* ---- values ---- */

static void results(void)
{
    expect("\"sql\":\"SELECT 1 AS a, 2::bigint AS b, 1.5::numeric AS c, 0.25::float8 AS d, true AS "
           "e, 'x' AS f, NULL::int AS g\"",
           "[{\"a\":1,\"b\":2,\"c\":1.5,\"d\":0.25,\"e\":true,\"f\":\"x\",\"g\":null}]");
    expect("\"sql\":\"SELECT '{\\\"a\\\": [1, null]}'::jsonb AS j, '[2]'::json AS k, 'null'::jsonb "
           "AS n\"",
           "[{\"j\":{\"a\":[1,null]},\"k\":[2],\"n\":null}]");
    expect(
        "\"sql\":\"SELECT '2026-01-01 01:00:00.25+01'::timestamptz AS t, '2026-01-01'::timestamp "
        "AS u, '2026-01-02'::date AS d, 'infinity'::timestamptz AS i, "
        "'1969-12-31 23:59:59.5+00'::timestamptz AS b, '0044-03-15 BC'::timestamp AS c\"",
        "[{\"t\":1767225600250,\"u\":1767225600000,\"d\":\"2026-01-02\",\"i\":\"infinity\","
        "\"b\":-500,\"c\":\"0044-03-15 00:00:00 BC\"}]");
    expect("\"sql\":\"SELECT '\\\\x616263'::bytea AS b, "
           "'6f9619ff-8b86-d011-b42d-00c04fc964ff'::uuid AS u, 'NaN'::float8 AS n\"",
           "[{\"b\":\"abc\",\"u\":\"6f9619ff-8b86-d011-b42d-00c04fc964ff\",\"n\":\"NaN\"}]");
    expect("\"sql\":\"SELECT ARRAY[1,NULL,3] AS a, ARRAY[[1,2],[3,4]] AS b, ARRAY['x,y','q\\\"r', "
           "'NULL', ''] AS c, '{}'::text[] AS d, ARRAY[true,false] AS e, "
           "'[2:3]={7,8}'::int[] AS f, ARRAY['{\\\"k\\\":1}'::jsonb] AS g, "
           "ARRAY['2026-01-01+00'::timestamptz] AS h\"",
           "[{\"a\":[1,null,3],\"b\":[[1,2],[3,4]],\"c\":[\"x,y\",\"q\\\"r\",\"NULL\",\"\"],"
           "\"d\":[],\"e\":[true,false],\"f\":[7,8],\"g\":[{\"k\":1}],\"h\":[1767225600000]}]");
    expect("\"sql\":\"SELECT n FROM generate_series(1, 3) n\",\"type\":\"single\"", "{\"n\":1}");
    expect("\"sql\":\"SELECT 1 AS n WHERE false\",\"type\":\"single\"", "null");
    expect("\"sql\":\"SELECT 1 AS n WHERE false\"", "[]");
    expect("\"sql\":\"SELECT\"", "[{}]");
}

static void arguments(void)
{
    expect("\"sql\":\"SELECT ?::int + ? AS a, ? AS b, ?::bool AS c\",\"args\":[1,2,\"x' OR "
           "1=1 --\",true]",
           "[{\"a\":3,\"b\":\"x' OR 1=1 --\",\"c\":true}]");
    expect(
        "\"sql\":\"SELECT ?2 AS a, ?1 AS b, '?' AS c, \\\"d?\\\" FROM (SELECT 1 AS \\\"d?\\\") x "
        "/* ? */ -- ?\",\"args\":[\"one\",\"two\"]",
        "[{\"a\":\"two\",\"b\":\"one\",\"c\":\"?\",\"d?\":1}]");
    expect("\"sql\":\"SELECT $$?$$ AS a, E'\\\\'?' AS b, ? AS c\",\"args\":[\"x\"]",
           "[{\"a\":\"?\",\"b\":\"'?\",\"c\":\"x\"}]");
    expect("\"sql\":\"SELECT '{\\\"k\\\":1}'::jsonb ? $1 AS a\",\"args\":[\"k\"]",
           "[{\"a\":true}]");
    expect("\"sql\":\"SELECT '{\\\"k\\\":1}'::jsonb ?? ? AS a\",\"args\":[\"k\"]",
           "[{\"a\":true}]");
    expect("\"sql\":\"SELECT n FROM generate_series(1, 5) n WHERE n = ANY(?) ORDER BY n\","
           "\"args\":[[[2,4]]]",
           "[{\"n\":2},{\"n\":4}]");
    expect("\"sql\":\"SELECT n FROM generate_series(1, 5) n WHERE n = ANY(?) AND n < ? ORDER BY "
           "n\",\"args\":[[2,4,5],5]",
           "[{\"n\":2},{\"n\":4}]");
    expect("\"sql\":\"SELECT ?::text[] AS a, ?::jsonb AS b\",\"args\":[[\"a,b\",null,\"c\\\"d\"],"
           "{\"k\":[1]}]",
           "[{\"a\":[\"a,b\",null,\"c\\\"d\"],\"b\":{\"k\":[1]}}]");
    expect("\"sql\":\"SELECT ?::timestamptz AS a, ?::date AS b\",\"args\":[1767225600250,"
           "1767225600250]",
           "[{\"a\":1767225600250,\"b\":\"2026-01-01\"}]");
    expect("\"sql\":\"SELECT ?::bytea = 'abc'::bytea AS a, ?::int IS NULL AS "
           "b\",\"args\":[\"abc\",null]",
           "[{\"a\":true,\"b\":true}]");
}

static void writes(void)
{
    expect("\"sql\":\"CREATE TABLE note (id serial PRIMARY KEY, body text UNIQUE, at timestamptz "
           "DEFAULT now())\"",
           "[]");
    expect("\"sql\":\"INSERT INTO note (body) VALUES (?)\",\"args\":[\"one\"]", "[]");
    expect("\"sql\":\"INSERT INTO note (body) VALUES (?) RETURNING id\",\"args\":[\"two\"],"
           "\"type\":\"single\"",
           "{\"id\":2}");
    fails("\"sql\":\"INSERT INTO note (body) VALUES (?)\",\"args\":[\"two\"]",
          "(SQLSTATE 23505)\",\"payload\":{\"sqlstate\":\"23505\"}");
    expect("\"sql\":\"UPDATE note SET body = ? WHERE id = ? RETURNING body\",\"args\":[\"2\",2]",
           "[{\"body\":\"2\"}]");
    /* a changed table: what was known of the parameters goes */
    expect("\"sql\":\"ALTER TABLE note ALTER body TYPE int USING id\"", "[]");
    fails("\"sql\":\"UPDATE note SET body = ? WHERE id = ? RETURNING body\",\"args\":[\"2\",2]",
          "SQLSTATE");
    expect("\"sql\":\"UPDATE note SET body = ? WHERE id = ? RETURNING body\",\"args\":[\"2\",2]",
           "[{\"body\":2}]");
    expect("\"sql\":\"DELETE FROM note\"", "[]");
}

/* ---- what is refused ---- */

static void errors(void)
{
    fails("\"sql\":\"SELEC 1\"",
          "PostgreSQL: syntax error at or near \\\"SELEC\\\" (SQLSTATE 42601)");
    fails("\"sql\":\"SELECT 1; SELECT 2\"", "SQLSTATE 42601");
    fails("\"sql\":\" -- nothing\"", "there is no statement");
    fails("\"sql\":\"SELECT ?\",\"args\":[]", "the statement has 1 parameters, 0 were given");
    fails("\"sql\":\"SELECT 1\",\"args\":[1]", "the statement has 0 parameters, 1 were given");
    fails("\"sql\":\"SELECT $2::int\",\"args\":[1,2]", "SQLSTATE 42P18");
    fails("\"sql\":\"SELECT ?\",\"args\":[\"a\\u0000b\"]", "NUL");
    fails("\"sql\":\"BEGIN\"", "a transaction cannot span statements");
    fails("\"sql\":\"COPY (SELECT 1) TO STDOUT\"", "COPY");
    fails("\"sql\":\"SELECT repeat('x', 100000) FROM generate_series(1, 100)\"", "too large");
    fails("\"sql\":\"SELECT pg_terminate_backend(pg_backend_pid())\"", "SQLSTATE 57P01");
    expect("\"sql\":\"SELECT 1 AS still\"", "[{\"still\":1}]");
}

static void connections(void)
{
    char text[512];
    static const char one[] = "\"sql\":\"SELECT 1 AS n\"";
    snprintf(text, sizeof text,
             "host=127.0.0.1 port=%d user=ann dbname=postgres password='%s' "
             "connect_timeout=5 application_name=mine sslmode=disable",
             postgres.port, POSTGRES_PASSWORD);
    expect_of(text, "\"sql\":\"SHOW application_name\"", 200, "[{\"application_name\":\"mine\"}]");
    snprintf(text, sizeof text, "postgres://ann:wrong@localhost:%d/postgres", postgres.port);
    refused(text, one, "password authentication failed for user \\\"ann\\\"");
    snprintf(text, sizeof text, "postgres://ann@127.0.0.1:%d/postgres", postgres.port);
    refused(text, one, "PostgreSQL: no connection");
    snprintf(text, sizeof text, "postgres://ann:s3cret%%2Fw%%40rd@127.0.0.1:%d/nowhere",
             postgres.port);
    refused(text, one, "database \\\"nowhere\\\" does not exist");
    snprintf(text, sizeof text,
             "postgres://ann:s3cret%%2Fw%%40rd@127.0.0.1:%d/postgres?sslmode=require",
             postgres.port);
    refused(text, one, "server does not support SSL");
    refused("postgres://ann:s3cret/w@rd@127.0.0.1/postgres", one, "connection_string");
    refused("host=127.0.0.1 user=ann password=s3cret w@rd", one, "connection_string");
    refused("postgres://ann:a@s3cret@127.0.0.1/postgres", one, "connection_string");
    refused("-", one, "connection_string");
    refused("host=127.0.0.1", one, "host and user");
    refused("host=127.0.0.1,127.0.0.2 user=ann", one, "one host");
    refused("host=127.0.0.1 user=ann service=x", one, "'service' is not supported");
    refused("host=127.0.0.1 user=ann passfile=/etc/passwd", one, "'passfile' is not supported");
    refused("host=127.0.0.1 user=ann port=99999", one, "port");
    refused("host=127.0.0.1 user=ann port=1", one, "refused");
    refused("host=/nonexistent user=ann", one, "no connection");
    refused("host=no-such-host.invalid user=ann connect_timeout=3", one, "PostgreSQL: ");
}

static void templates(void)
{
    char *reply;
    int got = ask("template", good, "\"name\":\"x' --\"", &reply);
    if (got != 200 || !reply ||
        strcmp(reply, "{\"one\":{\"joined\":\"x' --!\",\"n\":7},\"two\":[{\"quoted\":\"<x' "
                      "-->\",\"bare\":\"x' --\"}],\"three\":\"db.external.postgres.direct_query: "
                      "'x' --' cannot stand for a name in SQL\",\"four\":{\"sqlstate\":"
                      "\"42703\"}}") != 0) {
        fprintf(stderr, "template: %d %s\n", got, reply ? reply : "nothing");
        failures++;
    }
    free(reply);
}

/* ---- time ---- */

static void *sleeper(void *arg)
{
    char *reply;
    int *status = arg;
    *status = ask("sql", good, "\"sql\":\"SELECT pg_sleep(0.3)\"", &reply);
    free(reply);
    return NULL;
}

/* Many at once share a few connections, and nobody else waits for them. */
static void crowd(void)
{
    pthread_t threads[CROWD];
    int status[CROWD];
    int64_t began = clock_mono_ms();
    for (int i = 0; i < CROWD; i++)
        pthread_create(&threads[i], NULL, sleeper, &status[i]);
    poll(NULL, 0, 100);
    int64_t asked = clock_mono_ms();
    char *reply;
    int other = http_request(server.port, "GET", "/api:pg/hello", NULL, NULL, &reply);
    int64_t waited = clock_mono_ms() - asked;
    free(reply);
    int ok = 0;
    for (int i = 0; i < CROWD; i++) {
        pthread_join(threads[i], NULL);
        ok += status[i] == 200;
    }
    int64_t took = clock_mono_ms() - began;
    printf("%d statements of 300 ms took %lld ms; another request %lld ms\n", CROWD,
           (long long)took, (long long)waited);
    if (ok != CROWD || other != 200 || waited * 2 > took || took < 900) {
        fprintf(stderr, "crowd: %d of %d, another %d after %lld ms, %lld ms in all\n", ok, CROWD,
                other, (long long)waited, (long long)took);
        failures++;
    }
    expect("\"sql\":\"SELECT count(*) <= 9 AS few FROM pg_stat_activity WHERE usename = 'ann' AND "
           "application_name = 'xs'\"",
           "[{\"few\":true}]");
}

/* Given up after postgres.timeout_ms; the server notices and stops as well. */
static void too_long(void)
{
    int64_t began = clock_mono_ms();
    fails("\"sql\":\"SELECT pg_sleep(30)\"", "no answer in time");
    if (clock_mono_ms() - began > SLOW_MS + 3000)
        failures++;
    for (int64_t end = clock_mono_ms() + 10000; clock_mono_ms() < end; poll(NULL, 0, 100)) {
        char *reply;
        (void)ask("sql", good,
                  "\"sql\":\"SELECT count(*) AS n FROM pg_stat_activity WHERE query LIKE "
                  "'SELECT pg_sleep(30)%'\"",
                  &reply);
        bool over = reply && strcmp(reply, "[{\"n\":0}]") == 0;
        free(reply);
        if (over)
            return;
    }
    fputs("the server still sleeps\n", stderr);
    failures++;
}

static void restart(void)
{
    expect("\"sql\":\"SELECT 1 AS n\"", "[{\"n\":1}]");
    postgres_stop(&postgres);
    fails("\"sql\":\"SELECT 1 AS n\"", "PostgreSQL: ");
    if (!postgres_start(&postgres)) {
        failures++;
        return;
    }
    char *reply;
    int status = 0;
    for (int64_t end = clock_mono_ms() + 10000; clock_mono_ms() < end && status != 200;
         poll(NULL, 0, 50)) {
        status = ask("sql", good, "\"sql\":\"SELECT 1 AS n\"", &reply);
        free(reply);
    }
    expect("\"sql\":\"SELECT 1 AS n\"", "[{\"n\":1}]");
}

/* Statements are under way when the server is told to end. */
static void ending(void)
{
    pthread_t thread;
    int status;
    pthread_create(&thread, NULL, sleeper, &status);
    poll(NULL, 0, 100);
    if (server_stop(&server, SIGTERM, 10000) != 0)
        failures++;
    pthread_join(thread, NULL);
    if (status != 200)
        failures++;
}

static bool serve(char **argv, char *const *more)
{
    char serve_word[] = "serve", listen[] = "--listen", any[] = "127.0.0.1:0", db[] = "--db",
         memory[] = ":memory:", level[] = "--log-level", only[] = "error";
    char *args[24] = {argv[1], serve_word, argv[2], listen, any, db, memory, level, only};
    for (int n = 9; *more; more++)
        args[n++] = *more;
    return server_start(&server, args);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: external XS APP\n", stderr);
        return 2;
    }
    if (!postgres_find(&postgres)) {
        fputs("no PostgreSQL server is installed\n", stderr);
        return SKIPPED;
    }
    char private[] = "--http-allow-private", max[] = "--http-max-response", size[] = "1m",
         timeout[] = "--postgres-timeout-ms", ms[] = "4000";
    char *const open[] = {private, max, size, timeout, ms, NULL}, *const closed[] = {NULL};
    bool ok = postgres_start(&postgres) && serve(argv, open);
    snprintf(good, sizeof good, "postgresql://ann:s3cret%%2Fw%%40rd@127.0.0.1:%d/postgres",
             postgres.port);
    if (ok) {
        results();
        arguments();
        writes();
        errors();
        connections();
        templates();
        crowd();
        too_long();
        restart();
        ending();
    }
    if (ok && serve(argv, closed)) {
        fails("\"sql\":\"SELECT 1\"", "the address is private");
        refused("host=/tmp user=ann", "\"sql\":\"SELECT 1\"", "the address is private");
        (void)server_stop(&server, SIGTERM, 10000);
    }
    postgres_remove(&postgres);
    fprintf(stderr, "%s, %d failures\n", ok ? "done" : "a server did not start", failures);
    return ok && !failures ? 0 : 1;
}
