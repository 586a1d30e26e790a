/* check.c - xs bench check. Makes a program of many files in memory, the same every time, and
 * measures the stages of the front end on one core: the least CPU time of some rounds counts. */
#include "bench/check.h"

#include <stdlib.h>
#include <time.h>

#include "cli/cli.h"
#include "core/diag.h"
#include "core/text.h"
#include "frontend/compile.h"
#include "frontend/prog.h"

typedef enum Stage { STAGE_PARSE, STAGE_CHECK, STAGE_FORMAT, STAGES } Stage;
static const char *const stage_names[STAGES] = {"lex and parse", "check and compile", "format"};
static const char *const stage_keys[STAGES] = {"parse", "check", "format"};

static const char table_text[] =
    "// Orders of region %zu\n"
    "table \"order_%zu\" {\n  auth = false\n\n  schema {\n    int id\n"
    "    timestamp created_at?=now\n    text name filters=trim|min:2|max:200\n"
    "    int parent_id? {\n      table = \"order_%zu\"\n    }\n\n"
    "    enum state?=\"new\" {\n      values = [\"new\", \"open\", \"done\"]\n    }\n\n"
    "    decimal price? filters=min:0\n    json extras?\n  }\n\n"
    "  index = [\n    {type: \"primary\", field: [{name: \"id\"}]}\n"
    "    {type: \"btree\", field: [{name: \"created_at\", op: \"desc\"}]}\n  ]\n}\n";

static const char function_text[] =
    "// Totals and labels of a list of orders\nfunction \"region/report_%zu\" {\n"
    "  description = \"Computes totals and labels for a list of orders\"\n\n  input {\n"
    "    int id filters=min:1\n    text label? filters=trim|max:100\n    int[] items?\n  }\n\n"
    "  stack {\n    // rows of the owner\n    db.query \"order_%zu\" {\n"
    "      where = $db.order_%zu.parent_id == $input.id && $db.order_%zu.name includes? "
    "$input.label\n      sort = {created_at: \"desc\"}\n"
    "      return = {type: \"list\", paging: {page: 1, per_page: 25, totals: true}}\n"
    "    } as $rows\n\n"
    "    var $total {\n      value = 0\n    }\n\n    foreach ($rows.items) {\n"
    "      each as $row {\n        conditional {\n"
    "          if ($row.price > 10 && ($row.name|strlen) > 3) {\n"
    "            math.add $total {\n              value = $row.price * 2 + 1\n            }\n"
    "          }\n\n          elseif ($row.state == \"done\") {\n            debug.log {\n"
    "              value = \"row \" ~ $row.id ~ \" is done\"\n            }\n          }\n\n"
    "          else {\n            var.update $total {\n"
    "              value = $total + ($row.price ?? 0)\n            }\n          }\n        }\n"
    "      }\n    }\n\n    var $labels {\n"
    "      value = $rows.items\n        |map:$$.name\n        |unique\n        |join:\", \"\n"
    "    }\n\n    precondition ($total >= 0) {\n      error_type = \"inputerror\"\n"
    "      error = \"The total is negative\"\n    }\n\n    api.realtime_event {\n"
    "      channel = \"orders:\" ~ $input.id\n      event = \"total\"\n"
    "      data = {total: $total, labels: $labels, at: now}\n    }\n  }\n\n"
    "  response = {total: $total, labels: $labels, text: \"Total is \" ~ $total}\n}\n";

enum { FILES_PER_TABLE = 10 };

static bool make_sources(Arena *a, size_t n, SourceFile **out, size_t *bytes)
{
    SourceFile *files = ARENA_ARRAY(a, SourceFile, n + 1);
    *bytes = 0;
    for (size_t i = 0; files && i < n; i++) {
        size_t t = i / FILES_PER_TABLE;
        files[i].path = arena_printf(a, "file_%06zu.xs", i);
        files[i].text = i % FILES_PER_TABLE == 0 ? arena_printf(a, table_text, t, t, t)
                                                 : arena_printf(a, function_text, i, t, t, t);
        if (!files[i].path.ptr || !files[i].text.ptr)
            return false;
        *bytes += files[i].text.len;
    }
    *out = files;
    return files != NULL;
}

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool parse_all(Arena *a, const SourceFile *files, size_t n)
{
    DiagList diags;
    CompileOptions options = {0};
    Comp c;
    diag_init(&diags, a);
    Prog pr = {.c = &c};
    if (!comp_init(&c, a, &diags, &options))
        return false;
    prog_parse(&pr, files, n, false);
    prog_deinit(&pr);
    return !c.oom && diags.errors == 0;
}

static bool check_all(Arena *a, const SourceFile *files, size_t n)
{
    DiagList diags;
    CompileOptions options = {.program_name = TEXT("bench")};
    BundleImage image;
    diag_init(&diags, a);
    return compile_program(a, files, n, &options, &diags, &image);
}

static bool format_all(Arena *a, const SourceFile *files, size_t n)
{
    bool ok = true;
    for (size_t i = 0; ok && i < n; i++) {
        DiagList diags;
        Buf out = BUF_INIT;
        diag_init(&diags, a);
        ok = format_source(a, files[i].path, files[i].text, &diags, &out) &&
             text_eq(buf_view(&out), files[i].text); /* the samples are in canonical layout */
        buf_deinit(&out);
    }
    return ok;
}

/* Least CPU time of some rounds in ms; < 0 = failed. */
static double measure(Stage stage, const SourceFile *files, size_t n, long rounds)
{
    static bool (*const run[STAGES])(Arena *, const SourceFile *, size_t) = {parse_all, check_all,
                                                                             format_all};
    double best = -1;
    for (long i = 0; i < rounds; i++) {
        Arena a;
        arena_init(&a, 0);
        double start = cpu_ms();
        bool ok = run[stage](&a, files, n);
        double ms = cpu_ms() - start;
        arena_deinit(&a);
        if (!ok)
            return -1;
        best = best < 0 || ms < best ? ms : best;
    }
    return best;
}

static bool number(const char *text, long max, long *out)
{
    char *end;
    long v = text ? strtol(text, &end, 10) : *out;
    if (v < 1 || v > max || (text && (*end || end == text)))
        return false;
    *out = v;
    return true;
}

int bench_check(int argc, char **argv)
{
    enum { MAX_SOURCES_MADE = 1000000, MAX_ROUNDS = 1000 };
    const char *files_text = NULL, *rounds_text = NULL;
    bool json = false;
    const CliOption options[] = {
        {"--files", "N", "files of the program, a tenth of them tables (default 1500)", NULL,
         &files_text},
        {"--rounds", "N", "runs of each stage; the fastest counts (default 5)", NULL, &rounds_text},
        {"--json", NULL, "print one JSON object", &json, NULL},
        {0},
    };
    int done =
        cli_options(&argc, argv, "bench check [OPTIONS]",
                    "Measures the front end on one core over sources made in memory.", options);
    if (done >= 0)
        return done;
    long files = 1500, rounds = 5;
    if (argc > 1 || !number(files_text, MAX_SOURCES_MADE, &files) ||
        !number(rounds_text, MAX_ROUNDS, &rounds))
        return cli_usage("bench check", "--files and --rounds are numbers of 1 or more");
    Arena a;
    SourceFile *sources;
    size_t bytes;
    arena_init(&a, 0);
    int code = EXIT_OK;
    if (!make_sources(&a, (size_t)files, &sources, &bytes)) {
        fputs("xs bench check: out of memory\n", stderr);
        code = EXIT_PROBLEM;
    }
    if (code == EXIT_OK && json)
        printf("{\"files\":%ld,\"bytes\":%zu", files, bytes);
    else if (code == EXIT_OK)
        printf("%ld files, %.2f MB\n", files, (double)bytes / 1e6);
    for (int s = 0; s < STAGES && code == EXIT_OK; s++) {
        double ms = measure((Stage)s, sources, (size_t)files, rounds);
        if (ms < 0) {
            fprintf(stderr, "xs bench check: %s failed\n", stage_names[s]);
            code = EXIT_PROBLEM;
        } else if (json) {
            printf(",\"%s_ms\":%.3f", stage_keys[s], ms);
        } else {
            printf("%-18s %8.1f ms  %7.1f MB/s  %8.0f files/s\n", stage_names[s], ms,
                   (double)bytes / 1e3 / ms, (double)files * 1e3 / ms);
        }
    }
    if (json)
        puts(code == EXIT_OK ? "}" : "");
    arena_deinit(&a);
    return code;
}
