/* SPDX-License-Identifier: MIT
 *
 * examples/view/main.c: mmkit-view
 */
#include "view.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const char usage[] =
    "usage: mmkit-view frames [OPTION]... [FILE]\n"
    "Draw physical memory: what lies where, and how broken up the rest is. FILE\n"
    "(or standard input) holds what mmk_phys_dump wrote, lines of others before\n"
    "and after it; the last dump is drawn.\n"
    "\n"
    "  --svg FILE    draw to a file, and not to the terminal\n"
    "  --follow      draw every dump as it comes, over the one before\n"
    "  --plain       no colours: letters; so it is with NO_COLOR set, and if\n"
    "                standard output is no terminal\n"
    "  --colour      colours all the same\n"
    "  --width N     so many columns, 40 to 1000\n"
    "  --help\n"
    "\n"
    "The exit status is 2 if there is no dump, or one that is truncated, garbled\n"
    "or of another version; 1: the picture cannot be written.\n";

static const char *svg_path;
static bool has_colours, is_following;
static unsigned width;

static void __attribute__((noreturn))
fail(int status, const char *what, const char *why)
{
	fprintf(stderr, "mmkit-view: %s%s%s\n", what, why[0] ? ": " : "", why);
	exit(status);
}

static void
look_at_terminal(void)
{
	const char *no_colour = getenv("NO_COLOR");
	struct winsize size;

	has_colours = isatty(STDOUT_FILENO) == 1 &&
	    (no_colour == NULL || *no_colour == '\0');
	width = 80;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
		width = size.ws_col;
}

static void
parse_options(int argc, char **argv)
{
	static const struct option known[] = {
		{ "svg", required_argument, NULL, 's' },
		{ "follow", no_argument, NULL, 'f' },
		{ "plain", no_argument, NULL, 'p' },
		{ "colour", no_argument, NULL, 'c' },
		{ "width", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};

	for (;;)
		switch (getopt_long(argc, argv, "", known, NULL)) {
		case 's': svg_path = optarg; break;
		case 'f': is_following = true; break;
		case 'p': has_colours = false; break;
		case 'c': has_colours = true; break;
		case 'w':
			width = (unsigned)strtoul(optarg, NULL, 10);
			if (width < 40 || width > 1000)
				fail(2, "--width", "40 to 1000");
			break;
		case 'h': fputs(usage, stdout); exit(0);
		case -1: return;
		default: fail(2, "try --help", "");
		}
}

static void
draw(const struct dump *dump)
{
	FILE *out = svg_path != NULL ? fopen(svg_path, "we") : stdout;

	if (out == NULL)
		fail(1, svg_path, strerror(errno));
	if (svg_path != NULL)
		draw_svg(out, dump);
	else
		draw_terminal(out, dump, has_colours, width);
	if (fflush(out) != 0 || ferror(out))
		fail(1, "the picture cannot be written", strerror(errno));
	if (out != stdout)
		fclose(out);
}

/* Draws the last dump of the stream, or each. */
static void
view(FILE *in)
{
	static struct dump dumps[2];
	struct reader reader = { .in = in };
	unsigned nr_dumps = 0;
	enum read_result result;
	char where[32];

	while ((result = dump_read(&reader, &dumps[nr_dumps % 2])) ==
	    READ_DUMP) {
		if (is_following && has_colours && svg_path == NULL)
			fputs("\033[H\033[2J", stdout);
		if (is_following)
			draw(&dumps[nr_dumps % 2]);
		dump_free(&dumps[++nr_dumps % 2]);
	}
	snprintf(where, sizeof where, "line %llu",
	    (unsigned long long)reader.nr_lines);
	if (result == READ_BAD)
		fail(2, where, reader.error);
	if (nr_dumps == 0)
		fail(2, "there is no dump: no line \"mmkit-frames 1\"", "");
	if (!is_following)
		draw(&dumps[(nr_dumps - 1) % 2]);
	dump_free(&dumps[(nr_dumps - 1) % 2]);
	free(reader.line);
}

int
main(int argc, char **argv)
{
	FILE *in = stdin;

	look_at_terminal();
	parse_options(argc, argv);
	if (optind == argc || strcmp(argv[optind], "frames") != 0)
		fail(2, "what is to be drawn? \"frames\" is known; try --help",
		    "");
	if (optind + 2 < argc)
		fail(2, argv[optind + 2], "one file at a time");
	if (optind + 1 < argc && strcmp(argv[optind + 1], "-") != 0)
		in = fopen(argv[optind + 1], "re");
	if (in == NULL)
		fail(2, argv[optind + 1], strerror(errno));
	view(in);
	return 0;
}
