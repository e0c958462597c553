// thinwire: trains image classifiers.
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "train/commands.h"

int main(int argc, char** argv) {
  try {
    return thinwire::RunCommand(
        thinwire::ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc)));
  } catch (const thinwire::Error& error) {
    std::fprintf(stderr, "thinwire: %s\n", error.what());
    return error.exit_code();
  } catch (const std::bad_alloc&) {
    std::fprintf(stderr, "thinwire: out of memory; try a smaller --batch-size\n");
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "thinwire: %s\n", error.what());
    return 1;
  }
}
