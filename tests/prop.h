/* SPDX-License-Identifier: MIT
 *
 * tests/prop.h: what every property test shares: a seed that can be set
 * (MMK_SEED) and a number of steps that slow checkers scale (MMK_TEST_SCALE,
 * in percent).
 */
#ifndef MMKIT_TESTS_PROP_H
#define MMKIT_TESTS_PROP_H

#include <stdint.h>
#include <stdlib.h>

static inline uint64_t
mmk_test_seed(void)
{
	const char *text = getenv("MMK_SEED");
	uint64_t seed = text != NULL ? strtoull(text, NULL, 0) : 1;

	return seed != 0 ? seed : 1;
}

/* xorshift64: Marsaglia, Journal of Statistical Software 8(14), 2003 */
static inline uint64_t
mmk_test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static inline unsigned
mmk_test_steps(unsigned nr)
{
	const char *text = getenv("MMK_TEST_SCALE");
	unsigned long percent = text != NULL ? strtoul(text, NULL, 0) : 100;
	unsigned scaled = (unsigned)(nr * percent / 100);

#if defined(MMKIT_PAGE_SHIFT) && MMKIT_PAGE_SHIFT > 12
	/* As many bytes in larger pages. */
	scaled >>= MMKIT_PAGE_SHIFT - 12;
#endif
	return scaled > 0 ? scaled : 1;
}

#endif
