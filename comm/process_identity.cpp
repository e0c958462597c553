#include "comm/process_identity.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include "comm/failure.h"

namespace thinwire {

ProcessIdentity OwnIdentity() {
  ProcessIdentity identity{};
  const std::string host = HostName();
  host.copy(identity.host.data(), identity.host.size() - 1);
  // Hosts of equal names differ in when they were booted, containers of one host in the processes
  // that they see.
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  std::error_code error;
  const auto processes = std::filesystem::read_symlink("/proc/self/ns/pid", error);
  identity.machine = std::hash<std::string>()(host + boot + processes.string());
  identity.process = getpid();
  return identity;
}

}  // namespace thinwire
