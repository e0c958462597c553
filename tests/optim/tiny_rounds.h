// The independent implementation's twenty rounds on a logistic regression with a nonconvex
// regulariser (20 features, 4 workers), of any method on ranks that are threads.
#pragma once

#include <string>
#include <vector>

#include "tests/optim/oracle.h"

namespace thinwire {

inline constexpr size_t kTinyRounds = 20;

/// The tiny cases' names in the order of the folder's index. cd_adam_sign0 (a sign that can be
/// zero), cd_adam_rand3 (that implementation's random numbers) and methods that thinwire does not
/// have are left out.
inline constexpr const char* kTinyCases[] = {
    // clang-format off
    "sgd", "msgd", "adam", "adamw", "rmsprop", "rmspropw", "signsgd", "signsgd_mv", "amsgrad",
    "cd_adam_sign", "cd_adam_top3", "cd_adam_sign_b8", "naive_amsgrad_sign", "ef_amsgrad_sign",
    "ef_amsgrad_sign_sc", "topk_amsgrad_top3", "topk_amsgrad_top3_nu0", "ef21_top3", "ef21_bc_top3",
    "ef21_full_top3", "ef21_sgdm_top3", "ef21_sgd2m_top3", "ef14_top3", "ef_sgdm_dc_sign",
    "ef_sgdm_sc_sign", "ef_sgd_dc_sign", "saef_sgdm_dc_sign", "saef_sgdm_sc_sign",
    "saef_sgdm_dc_sign_p4", "saef_sgdm_dc_top3", "saef_sgdm_dc_sign_decay", "saef_sgd_dc_sign",
    "onebit_adam_Tw8", "onebit_adam_Tw8_l2", "onebit_adam_Tw8_bc",
    // clang-format on
};

/// Point and costs after each round, the start's empty.
struct TinyRun {
  std::vector<std::vector<double>> x;
  std::vector<StepCosts> costs;
};

/// @param folder The oracle's. Without xz, which unpacks the data there, the result is empty.
TinyRun RunTiny(const oracle::Case& golden_case, const std::string& server, DataType type,
                const std::string& folder);

/// What does not agree in the first round in which anything differs.
/// @param tolerance Of x, relative to its largest element.
std::vector<std::string> CompareTiny(const TinyRun& run,
                                     const std::vector<oracle::TinyRound>& golden,
                                     double tolerance);

}  // namespace thinwire
