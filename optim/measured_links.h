// Links that measure, when asked, how much of a vector its compressed message keeps.
#pragma once

#include <memory>

#include "optim/links.h"

namespace thinwire {

/// Sends as `link` does; while `measure` holds, costs.contraction_up becomes
/// 1 - |C(v) - v|² / |v|² of this worker's vector, of a whole step's last message.
std::unique_ptr<Uplink> MeasureUplink(const LinkContext& context, const bool& measure,
                                      std::unique_ptr<Uplink> link);
/// Likewise costs.contraction_down, over all servers' shards.
std::unique_ptr<Downlink> MeasureDownlink(const LinkContext& context, const bool& measure,
                                          std::unique_ptr<Downlink> link);

/// |v|² over all ranks' shards.
double SumOfSquaresOverShards(const LinkContext& context, ConstView v);

}  // namespace thinwire
