// Elementwise passes and reductions in float64.
#pragma once

#include <cstdint>
#include <vector>

namespace thinwire::reference {

std::vector<double> Add(const std::vector<float>& a, const std::vector<float>& b, bool relu);
std::vector<double> Relu(const std::vector<float>& x);
std::vector<double> ReluBackward(const std::vector<float>& y, const std::vector<float>& y_gradient);
/// Element i stays if word i % 4 of Philox(seed, step, i / 4), cut to 24 bits and taken as a
/// fraction of 2^24, is at least `rate`.
std::vector<double> Dropout(const std::vector<float>& x, float rate, uint64_t seed, uint64_t step);
std::vector<double> Average(const std::vector<float>& x, double decay,
                            const std::vector<float>& average);

double SumOfSquares(const std::vector<float>& x);
double ClipScale(double sum_of_squares, double max_norm);
int64_t FirstNonFinite(const std::vector<float>& x);

}  // namespace thinwire::reference
