/* A session of another client context, where the server declines. */
#include "moves.h"

int main(void) {
	moves("B");
	return 0;
}
