// Ranges by NVTX, which is headers only: they load a profiler's library where there is one.
#include "kernels/trace_range.h"

#include <nvtx3/nvToolsExt.h>

#include <iterator>

namespace thinwire {
namespace {

struct Category {
  const char* name;
  uint32_t colour;  // ARGB
};

constexpr Category kCategories[] = {
    {"step", 0xFF7F7F7F}, {"phase", 0xFF1F77B4}, {"layer", 0xFF2CA02C}, {"kernel", 0xFFFF7F0E}};

/// NVTX's numbers of categories begin at 1: 0 is none.
constexpr uint32_t NumberOf(TraceCategory category) { return static_cast<uint32_t>(category) + 1; }

/// Null while no profiler is attached.
nvtxDomainHandle_t Domain() {
  static const nvtxDomainHandle_t domain = [] {
    const nvtxDomainHandle_t created = nvtxDomainCreateA("thinwire");
    for (uint32_t i = 0; i < std::size(kCategories); ++i) {
      nvtxDomainNameCategoryA(created, i + 1, kCategories[i].name);
    }
    return created;
  }();
  return domain;
}

}  // namespace

TraceRange::TraceRange(TraceCategory category, const char* name, int64_t number) {
  const nvtxDomainHandle_t domain = Domain();
  if (domain == nullptr) return;
  nvtxEventAttributes_t event{};
  event.version = NVTX_VERSION;
  event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  event.category = NumberOf(category);
  event.colorType = NVTX_COLOR_ARGB;
  event.color = kCategories[static_cast<uint32_t>(category)].colour;
  event.messageType = NVTX_MESSAGE_TYPE_ASCII;
  event.message.ascii = name;
  if (number != 0) {
    event.payloadType = NVTX_PAYLOAD_TYPE_INT64;
    event.payload.llValue = number;
  }
  nvtxDomainRangePushEx(domain, &event);
}

TraceRange::~TraceRange() {
  if (Domain() != nullptr) nvtxDomainRangePop(Domain());
}

}  // namespace thinwire
