// A profiler for tests: the program loads this library through NVTX_INJECTION64_PATH and writes its
// ranges of the domain "thinwire" to the file that THINWIRE_TRACE_FILE names. Preloaded, it also
// takes the place of cudaProfilerStart and cudaProfilerStop. A line an event, with tabs between:
//   push THREAD CATEGORY COLOUR NUMBER NAME
//   pop THREAD
//   start | stop
#include <nvtx3/nvToolsExt.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

namespace {

std::mutex mutex;
std::map<uint32_t, std::string> categories;
int threads = 0;

void WriteLine(const std::string& line) {
  static std::FILE* const file = [] {
    const char* const path = std::getenv("THINWIRE_TRACE_FILE");
    return path == nullptr ? nullptr : std::fopen(path, "w");
  }();
  if (file == nullptr) return;
  std::fprintf(file, "%s\n", line.c_str());
  std::fflush(file);
}

std::string Thread() {
  thread_local const int number = threads++;
  return std::to_string(number);
}

/// Only our own domain gets a handle; other libraries have domains, too.
nvtxDomainHandle_t CreateDomain(const char* name) {
  static char domain;
  return std::strcmp(name, "thinwire") == 0 ? reinterpret_cast<nvtxDomainHandle_t>(&domain)
                                            : nullptr;
}

void NameCategory(nvtxDomainHandle_t domain, uint32_t category, const char* name) {
  const std::lock_guard lock(mutex);
  if (domain != nullptr) categories[category] = name;
}

int Push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* event) {
  if (domain == nullptr) return 0;
  const std::lock_guard lock(mutex);
  char colour[16];
  std::snprintf(colour, sizeof(colour), "%08x", event->color);
  const int64_t number = event->payloadType == NVTX_PAYLOAD_TYPE_INT64 ? event->payload.llValue : 0;
  WriteLine("push\t" + Thread() + '\t' + categories[event->category] + '\t' + colour + '\t' +
            std::to_string(number) + '\t' + event->message.ascii);
  return 0;
}

int Pop(nvtxDomainHandle_t domain) {
  if (domain == nullptr) return 0;
  const std::lock_guard lock(mutex);
  WriteLine("pop\t" + Thread());
  return 0;
}

template <typename Function>
void Take(NvtxFunctionTable table, unsigned size, unsigned index, Function function) {
  if (index < size) *table[index] = reinterpret_cast<NvtxFunctionPointer>(function);
}

}  // namespace

extern "C" {

__attribute__((visibility("default"))) int InitializeInjectionNvtx2(
    NvtxGetExportTableFunc_t get_table) {
  const auto* callbacks =
      static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable table = nullptr;
  unsigned size = 0;
  if (callbacks == nullptr ||
      callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &table, &size) == 0) {
    return 0;
  }
  Take(table, size, NVTX_CBID_CORE2_DomainCreateA, CreateDomain);
  Take(table, size, NVTX_CBID_CORE2_DomainNameCategoryA, NameCategory);
  Take(table, size, NVTX_CBID_CORE2_DomainRangePushEx, Push);
  Take(table, size, NVTX_CBID_CORE2_DomainRangePop, Pop);
  return 1;
}

__attribute__((visibility("default"))) int cudaProfilerStart() {
  const std::lock_guard lock(mutex);
  WriteLine("start");
  return 0;
}

__attribute__((visibility("default"))) int cudaProfilerStop() {
  const std::lock_guard lock(mutex);
  WriteLine("stop");
  return 0;
}

}  // extern "C"
