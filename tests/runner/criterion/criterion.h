/* SPDX-License-Identifier: MIT
 *
 * tests/runner/criterion/criterion.h: the in-process runner behind Criterion's
 * macros
 *
 * WHAT    Put this directory first on the include path and the test sources
 *         that are written for Criterion become one plain program: each test
 *         is a function call, so Valgrind, ThreadSanitizer, emulators and
 *         machines without fork() can run it, and their exit status counts.
 *         Only the part of Criterion that the tests use is here: Test and
 *         TestSuite with .init, .fini, .signal and .disabled, and the cr_assert
 *         family with an optional printf message.
 * LOCKS   assertions may be made by any thread; a failure outside the thread
 *         of the test ends the program
 * SOURCE  own
 */
#ifndef MMKIT_TESTS_RUNNER_H
#define MMKIT_TESTS_RUNNER_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct runner_options {
	void (*init)(void);
	void (*fini)(void);
	int signal; /* of a test: it must end by this; it runs in a child */
	bool disabled;
	double timeout;          /* accepted, not used */
	const char *description; /* accepted, not used */
	int sentinel;
};

struct runner_test {
	const char *suite;
	const char *name;
	const char *file;
	int line;
	const struct runner_options *options;
	void (*body)(void); /* NULL: this is a suite's own record */
	struct runner_test *next;
};

void runner_add(struct runner_test *test);
/* Report a failed assertion; returns only if `is_fatal` is false. */
void runner_fail(bool is_fatal, const char *file, int line,
    const char *condition, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The current test asks for what this machine is not: it does not count. */
void runner_skip(void) __attribute__((noreturn));

#define RUNNER_RECORD(suite_, name_, body_, ...)                              \
	static const struct runner_options suite_##_##name_##_options = {     \
		__VA_ARGS__                                                   \
	};                                                                    \
	static struct runner_test suite_##_##name_##_record = { #suite_,      \
		#name_, __FILE__, __LINE__, &suite_##_##name_##_options,      \
		body_, NULL };                                                \
	__attribute__((constructor)) static void                              \
	suite_##_##name_##_register(void)                                     \
	{                                                                     \
		runner_add(&suite_##_##name_##_record);                       \
	}

#define RUNNER_TEST(suite_, name_, ...)                                       \
	static void suite_##_##name_##_test(void);                            \
	RUNNER_RECORD(suite_, name_, suite_##_##name_##_test, __VA_ARGS__)    \
	static void suite_##_##name_##_test(void)

#define Test(...) RUNNER_TEST(__VA_ARGS__, .sentinel = 0)
#define RUNNER_SUITE(suite_, ...) \
	RUNNER_RECORD(suite_, runner_suite, NULL, __VA_ARGS__)
#define TestSuite(...) RUNNER_SUITE(__VA_ARGS__, .sentinel = 0)

#define RUNNER_CHECK(is_fatal, cond, text, ...)                               \
	((cond) ? (void)0                                                     \
	        : runner_fail(is_fatal, __FILE__, __LINE__, text,             \
	              "" __VA_ARGS__))

#define cr_assert(cond, ...) RUNNER_CHECK(true, cond, #cond, __VA_ARGS__)
#define cr_expect(cond, ...) RUNNER_CHECK(false, cond, #cond, __VA_ARGS__)
#define cr_assert_not(cond, ...) \
	RUNNER_CHECK(true, !(cond), "!(" #cond ")", __VA_ARGS__)
#define cr_assert_eq(a, b, ...) \
	RUNNER_CHECK(true, (a) == (b), #a " == " #b, __VA_ARGS__)
#define cr_assert_neq(a, b, ...) \
	RUNNER_CHECK(true, (a) != (b), #a " != " #b, __VA_ARGS__)
#define cr_assert_lt(a, b, ...) \
	RUNNER_CHECK(true, (a) < (b), #a " < " #b, __VA_ARGS__)
#define cr_assert_leq(a, b, ...) \
	RUNNER_CHECK(true, (a) <= (b), #a " <= " #b, __VA_ARGS__)
#define cr_assert_gt(a, b, ...) \
	RUNNER_CHECK(true, (a) > (b), #a " > " #b, __VA_ARGS__)
#define cr_assert_geq(a, b, ...) \
	RUNNER_CHECK(true, (a) >= (b), #a " >= " #b, __VA_ARGS__)
#define cr_assert_null(p, ...) \
	RUNNER_CHECK(true, (p) == NULL, #p " == NULL", __VA_ARGS__)
#define cr_assert_not_null(p, ...) \
	RUNNER_CHECK(true, (p) != NULL, #p " != NULL", __VA_ARGS__)
#define cr_assert_str_eq(a, b, ...)                                           \
	RUNNER_CHECK(true, strcmp(a, b) == 0, #a " equals " #b, __VA_ARGS__)
#define cr_assert_str_neq(a, b, ...)                                          \
	RUNNER_CHECK(true, strcmp(a, b) != 0, #a " differs from " #b,         \
	    __VA_ARGS__)
#define cr_assert_arr_eq(a, b, bytes, ...)                                    \
	RUNNER_CHECK(true, memcmp(a, b, bytes) == 0, #a " equals " #b,        \
	    __VA_ARGS__)
#define cr_assert_fail(...) \
	runner_fail(true, __FILE__, __LINE__, "fail", "" __VA_ARGS__)
#define cr_fatal(...) cr_assert_fail(__VA_ARGS__)
#define cr_log_info(...) \
	((void)fprintf(stderr, __VA_ARGS__), (void)fprintf(stderr, "\n"))
#define cr_log_warn(...) cr_log_info(__VA_ARGS__)

#endif /* MMKIT_TESTS_RUNNER_H */
