/* SPDX-License-Identifier: MIT
 *
 * examples/vendor/main.c: a kernel's main, the day it takes mmkit in. What is
 * mmkit's is between the two marks; a test counts those lines.
 */
#include "../../mmkit/phys/census.h"

static struct mmk_phys phys;

static void
use_a_page(void)
{
	struct mmk_frame *frame;
	unsigned char *page;

	if (mmk_frame_alloc(&phys, 0, MMK_ALLOC_ZERO, MMK_USE_KERNEL,
	        &frame) != MMK_OK)
		panic("no page");
	page = MMKIT_PHYS_TO_PTR(mmk_frame_pa(&phys, frame));
	for (size_t i = 0; i < MMK_PAGE_BYTES; i++)
		if (page[i] != 0)
			panic("the page is not zero");
	page[0] = 1;
	(void)mmk_frame_unref(&phys, frame);
	if (!mmk_phys_check(&phys))
		panic("the frame table is damaged");
}

void
kernel_main(const struct boot_range *ram)
{
	print("kernel: up\n");
	/* mmkit: begin */
	struct mmk_phys_span span = { ram->start_pa, ram->end_pa };
	struct mmk_phys_config config = { .spans = &span, .nr_spans = 1 };
	if (mmk_phys_init(&phys, &config) != MMK_OK)
		panic("no memory for the frame table");
	/* mmkit: end */
	use_a_page();
	print("kernel: the first page was allocated, zeroed, used and freed\n");
	machine_stop(0);
}

void
print(const char *text)
{
	size_t bytes = 0;

	while (text[bytes] != '\0')
		bytes++;
	machine_write(text, bytes);
}

void
panic(const char *text)
{
	print("panic: ");
	print(text);
	print("\n");
	machine_stop(1);
}
