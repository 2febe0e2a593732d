/* SPDX-License-Identifier: MIT
 *
 * tests/test_pin_clock.c: what a port without a clock is told about timed pins
 */
#include <criterion/criterion.h>

#include "ports/sim/mmkit_port.h"
#undef MMKIT_CLOCK_NS
#define MMKIT_STATIC
#define MMKIT_IMPLEMENTATION
#include "mmkit/phys/pin.h"
#include "ports/sim/sim.h"

Test(pin_clock, without_a_clock_timed_pins_are_refused)
{
	struct sim_config machine = { .ram_bytes = 1 << 20, .nr_cpus = 1 };
	struct mmk_phys_config config = { .low_limit_pa = 0 };
	static struct mmk_phys phys;
	struct mmk_frame *frame = NULL;
	struct mmk_pins pins;
	struct mmk_pin pin;

	sim_boot(&machine);
	sim_set_cpu(0);
	config.spans = sim_spans(&config.nr_spans);
	cr_assert_eq(mmk_phys_init(&phys, &config), MMK_OK);
	mmk_pins_init(&pins, &phys, 1000);
	cr_assert_eq(mmk_frame_alloc(&phys, 0, 0, MMK_USE_KERNEL, &frame),
	    MMK_OK);
	cr_assert_eq(mmk_pin_begin(&pins, frame, 10, &pin), MMK_ERR_INVAL);
	cr_assert_eq(frame->pins, 0);
	cr_assert_eq(frame->refs, 1);
	/* A pin without a time is as good as ever. */
	cr_assert_eq(mmk_frame_pin(&phys, frame), MMK_OK);
	mmk_frame_unpin(&phys, frame);
	(void)mmk_frame_unref(&phys, frame);
	mmk_pins_fini(&pins);
	mmk_phys_fini(&phys);
	sim_shutdown();
}
