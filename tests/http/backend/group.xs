api_group "parcels" {
  canonical = "parcels"
  description = "Parcels and couriers"
  middleware = {pre: [{name: "stamp"}], post: [{name: "wrap"}]}
}
