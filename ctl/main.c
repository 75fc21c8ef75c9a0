/* main.c — the `drover` command; also `redis-cli --cluster` under that name (ctl/compat). */
#include "ctl/compat/compat.h"
#include "ctl/ctl.h"

int main(int argc, char **argv)
{
    return compat_is_meant(argc, argv) ? compat_main(argc, argv) : ctl_main(argc, argv);
}
