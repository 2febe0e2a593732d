/* SPDX-License-Identifier: MIT
 *
 * tests/test_pin.c: pins that end by themselves
 */
#include <pthread.h>

#include "frame_fixture.h"
#include "mmkit/phys/pin.h"

#define LIMIT_NS 1000u
#define NR_PINS 24

static struct mmk_pins pins;

static void
pin_boot(void)
{
	boot();
	mmk_pins_init(&pins, &phys, LIMIT_NS);
}

static void
pin_fini(void)
{
	cr_assert(mmk_pins_check(&pins));
	mmk_pins_fini(&pins);
	fini();
}

TestSuite(pin, .init = pin_boot, .fini = pin_fini);

Test(pin, a_timed_pin_pins_and_holds)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	cr_assert_eq(frame->pins, 1);
	cr_assert_eq(frame->refs, 2);
	cr_assert(mmk_pin_is_live(&pins, &pin));
	cr_assert(mmk_pins_check(&pins));
	cr_assert(mmk_pin_end(&pins, &pin));
	cr_assert_eq(frame->pins, 0);
	cr_assert_eq(frame->refs, 1);
	cr_assert_not(mmk_pin_is_live(&pins, &pin));
	put(frame);
}

Test(pin, ending_twice_does_nothing)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	cr_assert(mmk_pin_end(&pins, &pin));
	cr_assert_not(mmk_pin_end(&pins, &pin));
	cr_assert_eq(frame->refs, 1);
	put(frame);
}

Test(pin, S1_20_a_pin_expires_at_its_deadline_and_not_before)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	sim_set_clock_ns(100);
	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	cr_assert_eq(mmk_pin_expire(&pins, 109), 0);
	cr_assert_eq(frame->pins, 1);
	sim_set_clock_ns(110);
	cr_assert_not(mmk_pin_is_live(&pins, &pin), "overdue is over");
	cr_assert_eq(frame->pins, 1, "until somebody looks");
	cr_assert_eq(mmk_pin_expire(&pins, sim_clock_ns()), 1);
	cr_assert_eq(frame->pins, 0);
	cr_assert_eq(frame->refs, 1);
	cr_assert_not(mmk_pin_end(&pins, &pin));
	put(frame);
}

Test(pin, end_tells_that_the_time_was_over)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	sim_set_clock_ns(10);
	cr_assert_not(mmk_pin_end(&pins, &pin));
	cr_assert_eq(frame->pins, 0);
	put(frame);
}

Test(pin, S1_20_a_pin_longer_than_the_limit_is_refused)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, LIMIT_NS + 1, &pin),
	    MMK_ERR_LIMIT);
	cr_assert_eq(mmk_pin_begin(&pins, frame, UINT64_MAX, &pin),
	    MMK_ERR_LIMIT);
	cr_assert_eq(mmk_pin_begin(&pins, frame, 0, &pin), MMK_ERR_INVAL);
	cr_assert_eq(frame->pins, 0);
	cr_assert_eq(frame->refs, 1);
	cr_assert_eq(pins.nr_pins, 0);
	cr_assert_eq(mmk_pin_begin(&pins, frame, LIMIT_NS, &pin), MMK_OK);
	cr_assert(mmk_pin_end(&pins, &pin));
	put(frame);
}

Test(pin, a_frame_pinned_too_often_is_refused_whole)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	for (unsigned i = 0; i < UINT16_MAX; i++)
		cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_ERR_LIMIT);
	cr_assert_eq(frame->refs, 1);
	for (unsigned i = 0; i < UINT16_MAX; i++)
		mmk_frame_unpin(&phys, frame);
	put(frame);
}

Test(pin, S1_20_pins_nest)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin a, b;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &a), MMK_OK);
	cr_assert_eq(mmk_pin_begin(&pins, frame, 20, &b), MMK_OK);
	cr_assert_eq(frame->pins, 2);
	cr_assert_eq(mmk_pin_expire(&pins, 10), 1);
	cr_assert_eq(frame->pins, 1);
	cr_assert(mmk_pin_is_live(&pins, &b));
	cr_assert_eq(mmk_pin_expire(&pins, 20), 1);
	cr_assert_eq(frame->pins, 0);
	put(frame);
}

Test(pin, S1_20_a_frame_its_owner_gave_up_lasts_as_long_as_the_pin)
{
	struct mmk_frame *frame = get(0, 0);
	mmk_pa pa = mmk_frame_pa(&phys, frame);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	cr_assert_eq(mmk_frame_unref(&phys, frame), 1);
	cr_assert(mmk_frame_is_held(mmk_frame_of_pa(&phys, pa)));
	cr_assert_eq(mmk_pin_expire(&pins, 10), 1);
	cr_assert_not(mmk_frame_is_held(mmk_frame_of_pa(&phys, pa)));
}

/* Random pins of random frames; a plain array is the oracle. */
Test(pin, prop_pins_agree_with_an_array)
{
	uint64_t seed = mmk_test_seed(), now_ns = 0;
	struct mmk_frame *frames[4];
	struct mmk_pin pin[NR_PINS];
	unsigned of[NR_PINS] = { 0 };
	uint64_t deadline_ns[NR_PINS] = { 0 }; /* 0: not alive */

	for (unsigned i = 0; i < 4; i++)
		frames[i] = get(0, 0);
	for (unsigned n = mmk_test_steps(20000); n > 0; n--) {
		uint64_t r = mmk_test_random(&seed);
		unsigned i = (unsigned)(r >> 8) % NR_PINS;
		uint64_t nr_over = 0, nr_alive[4] = { 0 };

		if (r % 8 == 0) {
			now_ns += (r >> 16) % 300;
			sim_set_clock_ns(now_ns);
			for (unsigned k = 0; k < NR_PINS; k++) {
				if (deadline_ns[k] == 0 ||
				    deadline_ns[k] > now_ns)
					continue;
				deadline_ns[k] = 0;
				nr_over++;
			}
			cr_assert_eq(mmk_pin_expire(&pins, now_ns), nr_over);
		} else if (deadline_ns[i] != 0) {
			cr_assert(mmk_pin_end(&pins, &pin[i]));
			deadline_ns[i] = 0;
		} else {
			of[i] = (unsigned)(r >> 16) % 4;
			deadline_ns[i] = now_ns + 1 + (r >> 20) % LIMIT_NS;
			cr_assert_eq(mmk_pin_begin(&pins, frames[of[i]],
			    deadline_ns[i] - now_ns, &pin[i]), MMK_OK);
		}
		for (unsigned k = 0; k < NR_PINS; k++)
			nr_alive[of[k] % 4] += deadline_ns[k] != 0;
		for (unsigned k = 0; k < 4; k++)
			cr_assert_eq(frames[k]->pins, nr_alive[k]);
		cr_assert(mmk_pins_check(&pins));
	}
	(void)mmk_pin_expire(&pins, UINT64_MAX);
	for (unsigned i = 0; i < 4; i++)
		put(frames[i]);
}

TestSuite(pin_bugs, .init = pin_boot);

Test(pin_bugs, fini_with_a_live_pin_traps, .signal = SIGABRT)
{
	struct mmk_frame *frame = get(0, 0);
	struct mmk_pin pin;

	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_OK);
	mmk_pins_fini(&pins);
}

/* ---- several CPUs ------------------------------------------------------ */

TestSuite(pin_threads, .init = pin_boot, .fini = pin_fini);

static struct mmk_frame *shared;

static void *
pin_and_end(void *arg)
{
	unsigned cpu = (unsigned)(uintptr_t)arg;
	struct mmk_pin pin[4];

	sim_set_cpu(cpu);
	for (unsigned n = mmk_test_steps(3000); n > 0; n--) {
		for (unsigned i = 0; i < 4; i++)
			cr_assert_eq(mmk_pin_begin(&pins, shared,
			    1 + (n + i) % LIMIT_NS, &pin[i]), MMK_OK);
		(void)mmk_pin_expire(&pins, 1 + n % LIMIT_NS);
		for (unsigned i = 0; i < 4; i++)
			(void)mmk_pin_end(&pins, &pin[i]);
	}
	return NULL;
}

Test(pin_threads, ends_and_expiries_meet_once)
{
	pthread_t threads[NR_CPUS];

	shared = get(0, 0);
	for (uintptr_t i = 0; i < NR_CPUS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, pin_and_end,
		    (void *)i), 0);
	for (unsigned i = 0; i < NR_CPUS; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	cr_assert_eq(shared->pins, 0);
	cr_assert_eq(shared->refs, 1);
	put(shared);
}
