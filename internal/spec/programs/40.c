/* A session of another client context, where the server agrees to resume. */
#include "moves.h"

int main(void) {
	moves("A");
	return 0;
}
