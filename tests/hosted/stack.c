/* SPDX-License-Identifier: MIT
 *
 * tests/hosted/stack.c: a stack that grows to megabytes and is still right
 */
#include <stdio.h>
#include <string.h>

static unsigned long
descend(unsigned depth, unsigned seed)
{
	volatile unsigned char frame[1000];
	unsigned long sum = 0;

	for (unsigned i = 0; i < sizeof frame; i++)
		frame[i] = (unsigned char)(depth + i * seed);
	if (depth > 0)
		sum = descend(depth - 1, seed);
	for (unsigned i = 0; i < sizeof frame; i++) {
		if (frame[i] != (unsigned char)(depth + i * seed))
			printf("depth %u: byte %u is wrong\n", depth, i);
		sum += frame[i];
	}
	return sum;
}

int
main(void)
{
	printf("%lu\n", descend(6500, 3)); /* about 7 MiB */
	printf("%lu\n", descend(10, 5));
	return 0;
}
