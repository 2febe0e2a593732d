/* SPDX-License-Identifier: MIT
 *
 * tests/runner/runner.c: runs the registered tests inside this process
 *
 * usage: PROGRAM [--list] [--verbose] [--skip PATTERN]... [PATTERN]...
 *
 * A pattern is matched against "suite/name": as a shell pattern if it has one
 * of *?[, whole if it has a slash, else as a substring. MMK_TEST_SKIP (a pattern) adds to --skip. The
 * last line is "N passed, N failed"; the exit status is 0 only if none failed
 * and at least one ran or was skipped.
 */
#include "criterion/criterion.h"

#include <fnmatch.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATTERN_MAX 32

static struct runner_test *tests;      /* in order of registration */
static struct runner_test **tests_end = &tests;
static const struct runner_test *current;
static unsigned nr_passed, nr_failed, nr_left_out;
static bool is_left_out;               /* the current test, see runner_skip */
static int has_failed_softly;          /* [a] of the current test */
static _Thread_local jmp_buf *way_out; /* NULL: not the test's own thread */

void
runner_add(struct runner_test *test)
{
	*tests_end = test;
	tests_end = &test->next;
}

static const char *
seed_text(void)
{
	const char *seed = getenv("MMK_SEED");

	return seed != NULL ? seed : "1";
}

void
runner_fail(bool is_fatal, const char *file, int line, const char *condition,
    const char *format, ...)
{
	va_list args;

	fflush(stdout);
	fprintf(stderr, "%s:%d: %s/%s: failed: %s", file, line,
	    current != NULL ? current->suite : "?",
	    current != NULL ? current->name : "?", condition);
	if (format[0] != '\0') {
		fprintf(stderr, ": ");
		va_start(args, format);
		vfprintf(stderr, format, args);
		va_end(args);
	}
	fprintf(stderr, " (MMK_SEED=%s)\n", seed_text());
	__atomic_store_n(&has_failed_softly, 1, __ATOMIC_RELAXED);
	if (!is_fatal)
		return;
	if (way_out != NULL)
		longjmp(*way_out, 1);
	printf("%u passed, %u failed\n", nr_passed, nr_failed + 1);
	fflush(stdout);
	_exit(1);
}

void
runner_skip(void)
{
	is_left_out = true;
	longjmp(*way_out, 1);
}

/* The program is beyond saving; say which test did it, and stop. */
static void
on_crash(int number)
{
	signal(number, SIG_DFL);
	fprintf(stderr, "%s:%d: %s/%s: ended by signal %d, the rest not run (MMK_SEED=%s)\n",
	    current != NULL ? current->file : "?",
	    current != NULL ? current->line : 0,
	    current != NULL ? current->suite : "?",
	    current != NULL ? current->name : "?", number, seed_text());
	printf("%u passed, %u failed\n", nr_passed, nr_failed + 1);
	fflush(stdout);
	_exit(1);
}

static const struct runner_options *
suite_options(const char *suite)
{
	static const struct runner_options none;

	for (const struct runner_test *t = tests; t != NULL; t = t->next)
		if (t->body == NULL && strcmp(t->suite, suite) == 0)
			return t->options;
	return &none;
}

static bool
run_here(const struct runner_test *test, const struct runner_options *suite)
{
	jmp_buf here;

	__atomic_store_n(&has_failed_softly, 0, __ATOMIC_RELAXED);
	if (setjmp(here) != 0) {
		way_out = NULL;
		return false;
	}
	way_out = &here;
	if (suite->init != NULL)
		suite->init();
	if (test->options->init != NULL)
		test->options->init();
	test->body();
	if (test->options->fini != NULL)
		test->options->fini();
	if (suite->fini != NULL)
		suite->fini();
	way_out = NULL;
	return __atomic_load_n(&has_failed_softly, __ATOMIC_RELAXED) == 0;
}

/* The child must end by `expected`; whatever it prints on the way is noise. */
static bool
run_in_child(const struct runner_test *test, const struct runner_options *suite,
    int expected)
{
	int status = 0;
	pid_t child;

	fflush(NULL);
	child = fork();
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		signal(SIGSEGV, SIG_DFL);
		if (getenv("MMK_TEST_NOISE") == NULL &&
		    freopen("/dev/null", "w", stderr) == NULL)
			_exit(2);
		_exit(run_here(test, suite) ? 0 : 1);
	}
	if (child < 0 || waitpid(child, &status, 0) != child) {
		perror("fork");
		return false;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == expected)
		return true;
	fprintf(stderr, "%s:%d: %s/%s: failed: should end by signal %d, %s %d\n",
	    test->file, test->line, test->suite, test->name, expected,
	    WIFSIGNALED(status) ? "but ended by" : "but exited with",
	    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return false;
}

static bool
matches(const struct runner_test *test, const char *pattern)
{
	char full[512];

	snprintf(full, sizeof(full), "%s/%s", test->suite, test->name);
	if (strpbrk(pattern, "*?[") != NULL)
		return fnmatch(pattern, full, 0) == 0;
	if (strchr(pattern, '/') != NULL)
		return strcmp(full, pattern) == 0;
	return strstr(full, pattern) != NULL;
}

static bool
matches_any(const struct runner_test *test, const char **patterns, unsigned nr)
{
	for (unsigned i = 0; i < nr; i++)
		if (matches(test, patterns[i]))
			return true;
	return false;
}

static void
run_one(const struct runner_test *test, bool is_verbose)
{
	const struct runner_options *suite = suite_options(test->suite);
	int expected = test->options->signal; /* Criterion's suites give none */
	bool ok;

	current = test;
	is_left_out = false;
	if (is_verbose) {
		printf("%s/%s ...\n", test->suite, test->name);
		fflush(stdout);
	}
	ok = expected != 0 ? run_in_child(test, suite, expected)
	                   : run_here(test, suite);
	current = NULL;
	if (is_left_out)
		nr_left_out++;
	else if (ok)
		nr_passed++;
	else
		nr_failed++;
}

int
main(int argc, char **argv)
{
	const char *wanted[PATTERN_MAX], *skipped[PATTERN_MAX + 1];
	unsigned nr_wanted = 0, nr_skipped = 0, nr_found = 0;
	bool is_list = false, is_verbose = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0)
			is_list = true;
		else if (strcmp(argv[i], "--verbose") == 0)
			is_verbose = true;
		else if (strcmp(argv[i], "--skip") == 0 && i + 1 < argc &&
		    nr_skipped < PATTERN_MAX)
			skipped[nr_skipped++] = argv[++i];
		else if (argv[i][0] != '-' && nr_wanted < PATTERN_MAX)
			wanted[nr_wanted++] = argv[i];
		else {
			fprintf(stderr,
			    "usage: %s [--list] [--verbose] [--skip PATTERN]... [PATTERN]...\n",
			    argv[0]);
			return 2;
		}
	}
	if (getenv("MMK_TEST_SKIP") != NULL)
		skipped[nr_skipped++] = getenv("MMK_TEST_SKIP");
	signal(SIGABRT, on_crash);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	signal(SIGSEGV, on_crash);
#endif
	for (const struct runner_test *t = tests; t != NULL; t = t->next) {
		if (t->body == NULL || t->options->disabled ||
		    (nr_wanted > 0 && !matches_any(t, wanted, nr_wanted)))
			continue;
		nr_found++;
		if (is_list)
			printf("%s/%s\n", t->suite, t->name);
		else if (!matches_any(t, skipped, nr_skipped))
			run_one(t, is_verbose);
	}
	if (nr_found == 0)
		fprintf(stderr, "%s: no such test\n", argv[0]);
	if (nr_left_out > 0)
		printf("%u left out: not on this machine\n", nr_left_out);
	if (!is_list)
		printf("%u passed, %u failed\n", nr_passed, nr_failed);
	return nr_found > 0 && nr_failed == 0 ? 0 : 1;
}
