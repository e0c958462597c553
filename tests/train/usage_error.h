// What every wrong use looks like.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/error.h"

namespace thinwire {

/// Expects a usage error that holds all `parts`.
template <typename Function>
void ExpectUsageError(const Function& function, const std::vector<std::string>& parts) {
  try {
    function();
    ADD_FAILURE() << "no error; expected one with: " << parts.front();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), Error::Kind::kUsage) << error.what();
    const std::string message = error.what();
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    for (const std::string& part : parts) {
      EXPECT_NE(message.find(part), std::string::npos) << "got: " << message << "\nno: " << part;
    }
  }
}

}  // namespace thinwire
